/* digits: read a picture of a digit with the compiled network and draw both
 *
 *     dlc compile examples/digits/digits.onnx -o digits.so
 *     cc -I runtime examples/digits/digits.c -lpng -o digits
 *     ./digits ./digits.so examples/digits/images/7.png
 *
 * The library is opened by name, as a program does that takes any model: `dlc_model_v1` describes it
 * (runtime/model.h). It allocates nothing: workspace, input and output are ours. Exit 0 if the picture's file
 * is named by the answer.
 */
#include "model.h"

#include <dlfcn.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 28, DIGITS = 10 };

/* A PNG of 28 x 28 as grey values; false if it is none. */
static int read_image(const char *path, unsigned char grey[SIDE][SIDE])
{
    png_image image;
    memset(&image, 0, sizeof image);
    image.version = PNG_IMAGE_VERSION;
    if (!png_image_begin_read_from_file(&image, path)) {
        fprintf(stderr, "%s: %s\n", path, image.message);
        return 0;
    }
    image.format = PNG_FORMAT_GRAY;
    if (image.width != SIDE || image.height != SIDE) {
        fprintf(stderr, "%s: expected 28 x 28 pixels, found %u x %u\n", path, (unsigned)image.width,
                (unsigned)image.height);
        png_image_free(&image);
        return 0;
    }
    return png_image_finish_read(&image, NULL, grey, 0, NULL);
}

/* Two pixels a character: upper and lower half of one block. */
static void draw(unsigned char grey[SIDE][SIDE])
{
    static const char *const block[4] = { " ", "\u2580", "\u2584", "\u2588" };  /* none, upper, lower, full */
    for (int y = 0; y < SIDE; y += 2) {
        printf("    ");
        for (int x = 0; x < SIDE; x++) fputs(block[(grey[y][x] > 96) | (grey[y + 1][x] > 96) << 1], stdout);
        puts("");
    }
}

/* One run of the model; false with a message if the library is not the one expected. */
static int classify(const char *library, float x[SIDE * SIDE], float y[DIGITS])
{
    void *handle = dlopen(library, RTLD_NOW);
    const dlc_model *model = handle ? dlsym(handle, "dlc_model_v1") : NULL;
    if (!model || model->abi != DLC_MODEL_ABI || model->n_inputs != 1 || model->n_outputs != 1 ||
        model->n_dims > 1) {
        const char *why = model ? "not the digits model" : dlerror();
        fprintf(stderr, "%s: %s\n", library, why);
        return 0;
    }
    int64_t dims[1] = { 1 };                                    /* the batch */
    size_t bytes = (size_t)model->workspace(dims);
    void *workspace = aligned_alloc(64, (bytes + 127) / 64 * 64);
    dlc_run run = { { NULL, NULL }, workspace, NULL, NULL };        /* no pool: this thread alone */
    const void *in[1] = { x };
    void *out[1] = { y };
    int done = workspace && model->run(&run, dims, in, out) == DLC_RUN_OK;
    free(workspace);
    return done;
}

int main(int argc, char **argv)
{
    unsigned char grey[SIDE][SIDE];
    float x[SIDE * SIDE], y[DIGITS];
    if (argc != 3) {
        fprintf(stderr, "usage: %s LIBRARY.so IMAGE.png\n", argv[0]);
        return 2;
    }
    if (!read_image(argv[2], grey)) return 1;
    for (int i = 0; i < SIDE * SIDE; i++) x[i] = (float)grey[i / SIDE][i % SIDE] / 255.0f;
    if (!classify(argv[1], x, y)) return 1;

    int best = 0;
    for (int d = 1; d < DIGITS; d++)
        if (y[d] > y[best]) best = d;
    draw(grey);
    printf("\n    This is a %d (%.1f %%).\n", best, 100.0 * (double)y[best]);
    const char *slash = strrchr(argv[2], '/'), *name = slash ? slash + 1 : argv[2];
    return name[0] == '0' + best ? 0 : 1;
}
