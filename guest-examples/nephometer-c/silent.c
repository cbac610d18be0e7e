// Without this, the C library's formatting and reading of numbers would bring WASI along.
//
// Both name the file behind stderr, and fputs, to say that numbers of type long double need another
// library. A component has no standard error: here that ends the instance.

#ifdef __wasm__

#include <stdio.h>

// Only its address is taken.
const char __stderr_FILE[1];

int fputs(const char *restrict text, FILE *restrict file) {
    (void)text;
    (void)file;
    __builtin_trap();
}

#else

// Natively the C library is whole.
typedef int nm_nothing;

#endif
