// Memory, texts and growing buffers.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nephometer.h"

void *nm_resize(void *memory, size_t count, size_t size) {
    if (size && count > SIZE_MAX / 2 / size)
        __builtin_trap();
    size_t bytes = count * size;
    void *resized = realloc(memory, bytes ? bytes : 1);
    if (!resized)
        __builtin_trap();
    return resized;
}

void *nm_reserve(void *array, size_t used, size_t *capacity, size_t size) {
    if (used < *capacity)
        return array;
    *capacity = used < 4 ? 8 : used * 2;
    return nm_resize(array, *capacity, size);
}

nm_text nm_text_of(const char *string) {
    return (nm_text){(uint8_t *)string, strlen(string)};
}

nm_text nm_text_copy(nm_text text) {
    if (text.len == 0)
        return (nm_text){NULL, 0};
    nm_text copy = {nm_resize(NULL, text.len, 1), text.len};
    memcpy(copy.ptr, text.ptr, text.len);
    return copy;
}

bool nm_text_equal(nm_text one, nm_text other) {
    return one.len == other.len && (one.len == 0 || memcmp(one.ptr, other.ptr, one.len) == 0);
}

bool nm_text_is(nm_text text, const char *string) {
    return nm_text_equal(text, nm_text_of(string));
}

int nm_text_order(nm_text one, nm_text other) {
    size_t both = one.len < other.len ? one.len : other.len;
    int order = both ? memcmp(one.ptr, other.ptr, both) : 0;
    return order ? order : (one.len > other.len) - (one.len < other.len);
}

static uint64_t mixed(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 32);
}

uint64_t nm_text_hash(nm_text text, uint64_t before) {
    uint64_t hash = mixed(before, text.len);
    size_t place = 0;
    for (; place + 8 <= text.len; place += 8) {
        uint64_t word;
        memcpy(&word, text.ptr + place, 8);
        hash = mixed(hash, word);
    }
    uint64_t rest = 0;
    if (place < text.len)
        memcpy(&rest, text.ptr + place, text.len - place);
    return mixed(hash, rest);
}

nm_text nm_text_print(const char *format, ...) {
    nm_writer writer = {0};
    va_list arguments;
    va_start(arguments, format);
    nm_print_list(&writer, format, arguments);
    va_end(arguments);
    return nm_written(&writer);
}

static void reserve_bytes(nm_writer *writer, size_t len) {
    if (len > SIZE_MAX / 4 - writer->len)
        __builtin_trap();
    size_t wanted = writer->len + len;
    if (wanted <= writer->capacity)
        return;
    size_t twice = writer->capacity * 2;
    writer->capacity = wanted > twice ? wanted : twice;
    writer->bytes = nm_resize(writer->bytes, writer->capacity, 1);
}

void nm_write_bytes(nm_writer *writer, const void *bytes, size_t len) {
    if (len == 0)
        return;
    reserve_bytes(writer, len);
    memcpy(writer->bytes + writer->len, bytes, len);
    writer->len += len;
}

void nm_write_text(nm_writer *writer, nm_text text) {
    nm_write_bytes(writer, text.ptr, text.len);
}

void nm_write(nm_writer *writer, const char *string) {
    nm_write_bytes(writer, string, strlen(string));
}

void nm_print(nm_writer *writer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    nm_print_list(writer, format, arguments);
    va_end(arguments);
}

void nm_print_list(nm_writer *writer, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int len = vsnprintf(NULL, 0, format, arguments);
    if (len > 0) {
        reserve_bytes(writer, (size_t)len + 1);
        vsnprintf((char *)writer->bytes + writer->len, (size_t)len + 1, format, again);
        writer->len += (size_t)len;
    }
    va_end(again);
}

nm_text nm_written(nm_writer *writer) {
    nm_text text = {writer->bytes, writer->len};
    // The generated code does not free texts of length 0.
    if (text.len == 0) {
        free(text.ptr);
        text.ptr = NULL;
    }
    *writer = (nm_writer){0};
    return text;
}

void nm_writer_free(nm_writer *writer) {
    free(writer->bytes);
    *writer = (nm_writer){0};
}
