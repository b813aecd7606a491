" Syntax of dlc programs (docs/grammar.ebnf)
if exists("b:current_syntax") | finish | endif
syntax keyword dlDefinition use fn layer model train op
syntax keyword dlStatement param state assert yield carry data minimize report search over with clip as
syntax keyword dlControl for in while if else
syntax keyword dlOperatorWord and or not
syntax keyword dlConstant true false none inf nan pi
syntax keyword dlType f16 bf16 f32 f64 i8 i16 i32 i64 u8 u16 u32 u64 bool
syntax match dlNumber "\<\d[0-9_]*\(\.\d[0-9_]*\)\?\([eE][+-]\?\d\+\)\?\>"
syntax match dlNumber "\<0x[0-9a-fA-F_]\+\>"
syntax match dlNumber "\<0b[01_]\+\>"
syntax match dlOperator "|>\|=>\|->\|\*\*\|//\|[-+*/%@=<>~]"
syntax region dlString start=+"+ skip=+\\.+ end=+"+ oneline
syntax match dlComment "#.*$" contains=@Spell
highlight default link dlDefinition Structure
highlight default link dlStatement Statement
highlight default link dlControl Conditional
highlight default link dlOperatorWord Operator
highlight default link dlConstant Constant
highlight default link dlType Type
highlight default link dlNumber Number
highlight default link dlOperator Operator
highlight default link dlString String
highlight default link dlComment Comment
let b:current_syntax = "dl"
