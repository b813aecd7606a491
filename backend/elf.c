/* backend/elf.c: a relocatable ELF64 object with constant data only.
 *
 * Why    Weights need no compiler: 100 MB of them cost one write. Through LLVM they would be parsed, hashed
 *        and copied.
 * How    Sections: null, .rodata (all data, each aligned to 64), .note.GNU-stack, .symtab, .strtab,
 *        .shstrtab. Every symbol is global and hidden: the linker binds it within the library.
 */
#include "backend/link.h"
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { ALIGN = 64 };
enum { SEC_null, SEC_rodata, SEC_stack, SEC_symtab, SEC_strtab, SEC_shstrtab, N_SECTIONS };
static const char section_names[] = "\0.rodata\0.note.GNU-stack\0.symtab\0.strtab\0.shstrtab";

static bool put(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n) {
        ssize_t done = write(fd, at, n > 1 << 30 ? 1 << 30 : n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

static bool put_zeros(int fd, size_t n)
{
    static const char zeros[ALIGN];
    return put(fd, zeros, n);
}

static size_t padding(uint64_t at) { return (size_t)((ALIGN - at % ALIGN) % ALIGN); }

static Elf64_Ehdr header(const char *triple, uint64_t sections_at)
{
    Elf64_Ehdr h = { .e_type = ET_REL, .e_version = EV_CURRENT, .e_shoff = sections_at, .e_ehsize = sizeof h,
                     .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = N_SECTIONS, .e_shstrndx = SEC_shstrtab };
    memcpy(h.e_ident,
           (unsigned char[]){ ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT,
                              ELFOSABI_NONE },
           8);
    h.e_machine = strncmp(triple, "aarch64", 7) == 0   ? EM_AARCH64
                  : strncmp(triple, "riscv64", 7) == 0 ? EM_RISCV
                                                       : EM_X86_64;
    if (h.e_machine == EM_RISCV) h.e_flags = 0x5;           /* RVC, double-float ABI: as the code's objects */
    return h;
}

bool elf_write_data(int fd, const char *triple, int n, const data_symbol *symbols)
{
    Elf64_Sym *sym = calloc((size_t)n + 1, sizeof *sym);
    size_t names = 1, name_at = 1;
    for (int i = 0; i < n; i++) names += strlen(symbols[i].name) + 1;
    char *strings = calloc(names, 1);
    bool ok = false;
    if (!sym || !strings) { errno = ENOMEM; goto done; }

    uint64_t size = 0;
    for (int i = 0; i < n; i++) {
        size += padding(size);
        sym[i + 1] = (Elf64_Sym){ .st_name = (Elf64_Word)name_at,
                                  .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                                  .st_other = STV_HIDDEN,
                                  .st_shndx = SEC_rodata,
                                  .st_value = size,
                                  .st_size = (uint64_t)symbols[i].bytes };
        strcpy(strings + name_at, symbols[i].name);
        name_at += strlen(symbols[i].name) + 1;
        size += (uint64_t)symbols[i].bytes;
    }
    uint64_t data_at = ALIGN, symtab_at = data_at + size + padding(size);
    uint64_t symtab_bytes = ((uint64_t)n + 1) * sizeof *sym, strtab_at = symtab_at + symtab_bytes;
    uint64_t shstrtab_at = strtab_at + names, sections_at = shstrtab_at + sizeof section_names;
    size_t last_pad = padding(sections_at);
    Elf64_Shdr sec[N_SECTIONS] = {
        [SEC_rodata] = { .sh_name = 1,
                         .sh_type = SHT_PROGBITS,
                         .sh_flags = SHF_ALLOC,
                         .sh_offset = data_at,
                         .sh_size = size,
                         .sh_addralign = ALIGN },
        [SEC_stack] = { .sh_name = 9, .sh_type = SHT_PROGBITS, .sh_offset = data_at, .sh_addralign = 1 },
        [SEC_symtab] = { .sh_name = 25,
                         .sh_type = SHT_SYMTAB,
                         .sh_offset = symtab_at,
                         .sh_size = symtab_bytes,
                         .sh_link = SEC_strtab,
                         .sh_info = 1,
                         .sh_addralign = 8,
                         .sh_entsize = sizeof *sym },
        [SEC_strtab] = { .sh_name = 33,
                         .sh_type = SHT_STRTAB,
                         .sh_offset = strtab_at,
                         .sh_size = names,
                         .sh_addralign = 1 },
        [SEC_shstrtab] = { .sh_name = 41,
                           .sh_type = SHT_STRTAB,
                           .sh_offset = shstrtab_at,
                           .sh_size = sizeof section_names,
                           .sh_addralign = 1 },
    };
    Elf64_Ehdr h = header(triple, sections_at + last_pad);
    ok = put(fd, &h, sizeof h) && put_zeros(fd, padding(sizeof h));
    uint64_t at = 0;
    for (int i = 0; ok && i < n; i++) {
        ok = put_zeros(fd, padding(at)) && put(fd, symbols[i].data, (size_t)symbols[i].bytes);
        at = sym[i + 1].st_value + (uint64_t)symbols[i].bytes;
    }
    ok = ok && put_zeros(fd, padding(size)) && put(fd, sym, symtab_bytes) && put(fd, strings, names) &&
         put(fd, section_names, sizeof section_names) && put_zeros(fd, last_pad) && put(fd, sec, sizeof sec);
done:
    free(sym);
    free(strings);
    return ok;
}
