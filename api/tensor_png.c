/* tensor_png: a picture as u8[height, width, channels], by libpng: 1 (grey), 3 (RGB) or, with transparency, 4
 * channels. Palettes and other depths are converted to these.
 */
#include "api/tensor_file.h"
#include <png.h>

enum { MAX_SIDE = 1 << 14 };

static void release(void *arg) { png_image_free(arg); }

static dlc_status wrong(dlc_context *ctx, const char *path, const char *what)
{
    diag_tensor_file(ctx, (place){ .file = path }, what);
    return DLC_ERR_INPUT;
}

dlc_status png_open(dlc_context *ctx, arena *a, const char *path, bytes file, tensor_entries *out)
{
    png_image *image = NEW(a, png_image);
    image->version = PNG_IMAGE_VERSION;
    arena_on_free(a, release, image);
    if (!png_image_begin_read_from_memory(image, file.at, file.n)) return wrong(ctx, path, image->message);
    if (image->width > MAX_SIDE || image->height > MAX_SIDE)
        return wrong(ctx, path, "the picture has over 16384 pixels a side");
    bool has_colour = image->format & PNG_FORMAT_FLAG_COLOR,
         has_alpha = image->format & PNG_FORMAT_FLAG_ALPHA;
    image->format = has_alpha ? PNG_FORMAT_RGBA : has_colour ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
    tensor_entry e = { .file = path, .name = "", .is_picture = true };
    e.t = (tensor){ .dtype = DTYPE_u8,
                    .rank = 3,
                    .dims = { image->height, image->width,
                              has_alpha    ? 4
                              : has_colour ? 3
                                           : 1 } };
    e.t.bytes = arena_alloc(a, tensor_bytes(&e.t));
    if (!png_image_finish_read(image, NULL, e.t.bytes, 0, NULL)) return wrong(ctx, path, image->message);
    vec_push(a, out, e);
    return DLC_OK;
}
