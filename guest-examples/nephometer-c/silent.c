// Replaces functions of the C library that would make the component import WASI.
//
// printf and strtod refer to stderr and fputs, to report that long double needs another library. A
// component has no standard error, so the call ends the instance.

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

// Native builds use the C library as it is.
typedef int nm_nothing;

#endif
