/* Judges its own layer_norm and mlp by golden vectors: C99, no library.  docs/vectors.md says what a file holds.
 *
 *     swin-oracle vectors write set --precision float32 --callables layer_norm,mlp
 *     cc -std=c99 -O2 -o vectors examples/vectors.c -lm && ./vectors set/layer_norm-*.safetensors
 *
 * Each file holds a call and its exact result; the two loops of `accepts` decide.  Exit code 1: one is not accepted.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { size_t size, last; const char *bytes; int wide; } Array; /* last: the last side of its shape */

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    long size;
    char *found;
    if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 8 || !(found = malloc(size + 1))) return NULL;
    rewind(file);
    size = (long)fread(found, 1, size, file);
    found[size] = 0;
    fclose(file);
    return found;
}

static double at(Array array, size_t i) {
    float narrow;
    double number;
    if (array.wide) return memcpy(&number, array.bytes + 8 * i, 8), number;
    return memcpy(&narrow, array.bytes + 4 * i, 4), narrow;
}

/* Finds an array in the header, which is written in one canonical way. */
static Array find(const char *image, const char *name) {
    uint64_t length;
    char key[99];
    Array found = {0, 1, NULL, 0};
    const char *entry, *shape;
    unsigned long long start, end;
    memcpy(&length, image, 8);
    sprintf(key, "\"%s\":{\"data_offsets\":[", name);
    if (!(entry = strstr(image + 8, key)) || sscanf(entry + strlen(key), "%llu,%llu", &start, &end) != 2) return found;
    found.wide = strstr(entry, "\"dtype\":\"")[9 + 1] == '6';
    for (shape = strstr(entry, "\"shape\":[") + 8; *shape != ']'; shape++)
        if (*shape == '[' || *shape == ',') found.last = strtoul(shape + 1, NULL, 10);
    found.bytes = image + 8 + length + start;
    found.size = (end - start) / (found.wide ? 8 : 4);
    return found;
}

/* The implementation. */
static void layer_norm(Array x, Array weight, Array bias, double eps, float *y) {
    size_t channels = x.last;
    for (size_t t = 0; t < x.size; t += channels) {
        double mean = 0, variance = 0;
        for (size_t c = 0; c < channels; c++) mean += at(x, t + c) / channels;
        for (size_t c = 0; c < channels; c++) variance += pow(at(x, t + c) - mean, 2) / channels;
        for (size_t c = 0; c < channels; c++)
            y[t + c] = (float)((at(x, t + c) - mean) / sqrt(variance + eps) * at(weight, c) + at(bias, c));
    }
}

static void mlp(Array x, Array w1, Array b1, Array w2, Array b2, float *y) {
    size_t channels = x.last, hidden = b1.size;
    double *h = malloc(hidden * sizeof *h);
    for (size_t t = 0; t < x.size; t += channels) {
        for (size_t i = 0; i < hidden; i++) {
            h[i] = at(b1, i);
            for (size_t c = 0; c < channels; c++) h[i] += at(x, t + c) * at(w1, i * channels + c);
#ifdef TANH /* a planted bug: GELU by tanh */
            h[i] *= 0.5 * (1 + tanh(0.7978845608028654 * (h[i] + 0.044715 * h[i] * h[i] * h[i])));
#else
            h[i] *= 0.5 * erfc(-h[i] / sqrt(2));
#endif
        }
        for (size_t c = 0; c < channels; c++) {
            double sum = at(b2, c);
            for (size_t i = 0; i < hidden; i++) sum += h[i] * at(w2, c * hidden + i);
            y[t + c] = (float)sum;
        }
    }
    free(h);
}

/* The two loops. */
static int accepts(const float *y, Array expected, Array beta) {
    double errors = 0, budget = 0, rms;
    for (size_t i = 0; i < expected.size; i++) {
        errors += pow(y[i] - at(expected, i), 2);
        budget += pow(at(beta, i), 2);
    }
    rms = sqrt(budget / expected.size);
    for (size_t i = 0; i < expected.size; i++)
        if (!(fabs(y[i] - at(expected, i)) <= 8 * fmax(at(beta, i), rms))) return 0;
    return errors <= budget;
}

int main(int count, char **paths) {
    int broken = 0;
    for (int i = 1; i < count; i++) {
        char *image = read_file(paths[i]), *eps;
        if (!image) return fprintf(stderr, "%s cannot be read\n", paths[i]), 2;
        if (strstr(image + 8, "\"cmd\":\"vjp\"") && printf("%s declined: no gradients\n", paths[i])) continue;
        Array x = find(image, "x"), expected = find(image, "expected");
        float *y = calloc(expected.size + 1, sizeof *y);
        if ((eps = strstr(image + 8, "\"eps\":\"")))
            layer_norm(x, find(image, "params.weight"), find(image, "params.bias"), atof(eps + 7), y);
        else
            mlp(x, find(image, "params.fc1.weight"), find(image, "params.fc1.bias"), find(image, "params.fc2.weight"),
                find(image, "params.fc2.bias"), y);
        int good = accepts(y, expected, find(image, "beta"));
        printf("%s %s\n", paths[i], good ? "accepted" : "broken");
        broken += !good;
        free(y), free(image);
    }
    return broken > 0;
}
