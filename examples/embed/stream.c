/* The same in C: stream_c FOLDER [STACK] < numbers */
#include <carrousel.h>
#include <stdio.h>
#include <stdlib.h>

/* One step's input from standard input; 0 at its end. */
static int read_numbers(float* x, size_t count) {
    for (size_t k = 0; k < count; ++k) {
        if (scanf("%f", &x[k]) != 1) return 0;
    }
    return 1;
}

int main(int count, char** arguments) {
    char error[CARROUSEL_ERROR_SIZE] = "";
    carrousel_model* model = NULL;
    carrousel_session* session = NULL;
    carrousel_widths widths;
    float *x = NULL, *y = NULL;
    carrousel_status status;

    if (count < 2) {
        fprintf(stderr, "usage: %s FOLDER [STACK] < numbers\n", arguments[0]);
        return 2;
    }
    status = carrousel_load(arguments[1], NULL, &model, error, sizeof error);
    if (status == CARROUSEL_OK) {
        status = carrousel_session_create(model, 1, count > 2 ? arguments[2] : NULL, &session, error, sizeof error);
    }
    widths = carrousel_session_widths(session);
    if (status == CARROUSEL_OK) {
        x = calloc(widths.in ? widths.in : 1, sizeof *x);
        y = calloc(widths.out, sizeof *y);
        if (!x || !y) status = CARROUSEL_MEMORY;
    }
    while (status == CARROUSEL_OK && read_numbers(x, widths.in ? widths.in : 1)) {
        status = carrousel_step(session, x, y, error, sizeof error);
        for (size_t k = 0; status == CARROUSEL_OK && k < widths.out; ++k) {
            printf("%s%.9g", k ? " " : "", (double)y[k]);
        }
        if (status == CARROUSEL_OK) printf("\n");
    }
    if (status != CARROUSEL_OK) fprintf(stderr, "%s\n", error);
    free(y);
    free(x);
    carrousel_session_free(session);
    carrousel_model_free(model);
    return status == CARROUSEL_OK ? 0 : 2;
}
