// Reads JSON into a tree of values, and writes it.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nephometer.h"

typedef struct reader {
    const uint8_t *at;
    const uint8_t *end;
    unsigned depth;
} reader;

static bool read_value(reader *from, nm_json *value);

static void skip_space(reader *from) {
    while (from->at < from->end && strchr(" \t\n\r", *from->at) && *from->at)
        from->at++;
}

static bool take(reader *from, char wanted) {
    if (from->at == from->end || *from->at != (uint8_t)wanted)
        return false;
    from->at++;
    return true;
}

static bool take_word(reader *from, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(from->end - from->at) < len || memcmp(from->at, word, len) != 0)
        return false;
    from->at += len;
    return true;
}

// The length of the UTF-8 character at a position; 0 if it is malformed.
static size_t character(const uint8_t *at, const uint8_t *end) {
    uint8_t first = *at;
    size_t len = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first > 0xf4 || (size_t)(end - at) < len)
        return 0;
    for (size_t place = 1; place < len; place++)
        if ((at[place] & 0xc0) != 0x80)
            return 0;
    // Overlong, a surrogate, or beyond the last character.
    if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f) ||
        (first == 0xf0 && at[1] < 0x90) || (first == 0xf4 && at[1] > 0x8f))
        return 0;
    return len;
}

static bool read_hex(reader *from, uint32_t *code) {
    *code = 0;
    for (int digit = 0; digit < 4; digit++) {
        if (from->at == from->end)
            return false;
        uint8_t one = *from->at++;
        uint32_t value;
        if (one >= '0' && one <= '9')
            value = one - '0';
        else if ((one | 32) >= 'a' && (one | 32) <= 'f')
            value = (one | 32) - 'a' + 10u;
        else
            return false;
        *code = *code * 16 + value;
    }
    return true;
}

static void write_code(nm_writer *to, uint32_t code) {
    uint8_t bytes[4];
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t place = len; place-- > 1; code >>= 6)
        bytes[place] = (uint8_t)(0x80 | (code & 0x3f));
    bytes[0] = (uint8_t)(marks[len] | code);
    nm_write_bytes(to, bytes, len);
}

static bool read_escape(reader *from, nm_writer *to) {
    if (from->at == from->end)
        return false;
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    uint8_t name = *from->at++;
    const char *known = name ? strchr(names, name) : NULL;
    if (known) {
        nm_write_bytes(to, &meant[known - names], 1);
        return true;
    }
    uint32_t code, low;
    if (name != 'u' || !read_hex(from, &code))
        return false;
    if (code >= 0xdc00 && code <= 0xdfff)
        return false;
    if (code >= 0xd800 && code <= 0xdbff) {
        if (!take_word(from, "\\u") || !read_hex(from, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    write_code(to, code);
    return true;
}

static bool read_characters(reader *from, nm_writer *to) {
    for (;;) {
        const uint8_t *plain = from->at;
        while (from->at < from->end && *from->at >= 0x20 && *from->at != '"' && *from->at != '\\') {
            size_t len = character(from->at, from->end);
            if (len == 0)
                return false;
            from->at += len;
        }
        nm_write_bytes(to, plain, (size_t)(from->at - plain));
        if (take(from, '"'))
            return true;
        if (!take(from, '\\') || !read_escape(from, to))
            return false;
    }
}

static bool read_text(reader *from, nm_text *text) {
    nm_writer writer = {0};
    if (!take(from, '"') || !read_characters(from, &writer)) {
        nm_writer_free(&writer);
        return false;
    }
    *text = nm_written(&writer);
    return true;
}

static size_t skip_digits(reader *from) {
    const uint8_t *begin = from->at;
    while (from->at < from->end && *from->at >= '0' && *from->at <= '9')
        from->at++;
    return (size_t)(from->at - begin);
}

// Every number with this many digits is exact as a double.
enum { SAFE_DIGITS = 15 };

static bool read_number(reader *from, nm_json *value) {
    const uint8_t *begin = from->at;
    take(from, '-');
    bool zero = from->at < from->end && *from->at == '0';
    size_t digits = skip_digits(from);
    if (digits == 0 || (zero && digits > 1))
        return false;
    bool whole = true;
    if (take(from, '.')) {
        whole = false;
        if (skip_digits(from) == 0)
            return false;
    }
    if (take(from, 'e') || take(from, 'E')) {
        whole = false;
        if (!take(from, '+'))
            take(from, '-');
        if (skip_digits(from) == 0)
            return false;
    }
    char short_one[64];
    nm_text text = {(uint8_t *)begin, (size_t)(from->at - begin)};
    char *string = text.len < sizeof short_one ? short_one : nm_resize(NULL, text.len + 1, 1);
    memcpy(string, text.ptr, text.len);
    string[text.len] = 0;
    value->kind = NM_NUMBER;
    value->number = strtod(string, NULL);
    if (whole && digits > SAFE_DIGITS)
        value->text = nm_text_copy(text);
    if (string != short_one)
        free(string);
    return isfinite(value->number);
}

static bool read_entry(reader *from, nm_json *value, size_t *capacity, size_t *keys_capacity) {
    nm_text key = {NULL, 0};
    if (value->kind == NM_MAP) {
        skip_space(from);
        if (!read_text(from, &key))
            return false;
        value->keys = nm_reserve(value->keys, value->len, keys_capacity, sizeof *value->keys);
        value->keys[value->len] = key;
    }
    value->items = nm_reserve(value->items, value->len, capacity, sizeof *value->items);
    nm_json *item = &value->items[value->len++];
    *item = (nm_json){0};
    if (value->kind == NM_MAP) {
        skip_space(from);
        if (!take(from, ':'))
            return false;
    }
    return read_value(from, item);
}

static bool read_entries(reader *from, nm_json *value, char close) {
    if (++from->depth > NM_JSON_DEPTH)
        return false;
    skip_space(from);
    bool more = !take(from, close);
    size_t capacity = 0, keys_capacity = 0;
    while (more) {
        if (!read_entry(from, value, &capacity, &keys_capacity))
            return false;
        skip_space(from);
        more = take(from, ',');
        if (!more && !take(from, close))
            return false;
    }
    from->depth--;
    return true;
}

static bool read_value(reader *from, nm_json *value) {
    skip_space(from);
    if (from->at == from->end)
        return false;
    switch (*from->at) {
    case '{':
        from->at++;
        value->kind = NM_MAP;
        return read_entries(from, value, '}');
    case '[':
        from->at++;
        value->kind = NM_LIST;
        return read_entries(from, value, ']');
    case '"':
        value->kind = NM_TEXT;
        return read_text(from, &value->text);
    case 't':
    case 'f':
        value->kind = NM_BOOL;
        value->boolean = *from->at == 't';
        return take_word(from, value->boolean ? "true" : "false");
    case 'n':
        return take_word(from, "null");
    default:
        return read_number(from, value);
    }
}

bool nm_json_read(nm_text text, nm_json *value) {
    *value = (nm_json){0};
    if (text.len == 0)
        return false;
    reader from = {text.ptr, text.ptr + text.len, 0};
    bool read = read_value(&from, value);
    skip_space(&from);
    if (read && from.at == from.end)
        return true;
    nm_json_free(value);
    return false;
}

const nm_json *nm_json_find(const nm_json *map, nm_text key) {
    for (size_t number = map->kind == NM_MAP ? map->len : 0; number-- > 0;)
        if (nm_text_equal(map->keys[number], key))
            return &map->items[number];
    return NULL;
}

const nm_json *nm_json_get(const nm_json *map, const char *key) {
    return nm_json_find(map, nm_text_of(key));
}

bool nm_json_equal(const nm_json *one, const nm_json *other) {
    if (one->kind != other->kind || one->len != other->len || one->boolean != other->boolean)
        return false;
    if (one->number != other->number || !nm_text_equal(one->text, other->text))
        return false;
    for (size_t number = 0; number < one->len; number++) {
        const nm_json *same = &other->items[number];
        if (one->kind == NM_MAP && !nm_text_equal(one->keys[number], other->keys[number]))
            same = nm_json_find(other, one->keys[number]);
        if (!same || !nm_json_equal(&one->items[number], same))
            return false;
    }
    return true;
}

void nm_json_free(nm_json *value) {
    for (size_t number = 0; number < value->len; number++) {
        nm_json_free(&value->items[number]);
        if (value->keys)
            stateful_transformer_string_free(&value->keys[number]);
    }
    free(value->items);
    free(value->keys);
    stateful_transformer_string_free(&value->text);
    *value = (nm_json){0};
}

void nm_json_write_text(nm_writer *writer, nm_text text) {
    nm_write(writer, "\"");
    size_t plain = 0;
    for (size_t place = 0; place < text.len; place++) {
        uint8_t one = text.ptr[place];
        if (one >= 0x20 && one != '"' && one != '\\')
            continue;
        nm_write_bytes(writer, text.ptr + plain, place - plain);
        plain = place + 1;
        if (one >= 0x20)
            nm_write_bytes(writer, (uint8_t[]){'\\', one}, 2);
        else
            nm_print(writer, "\\u%04x", (unsigned)one);
    }
    if (plain < text.len)
        nm_write_bytes(writer, text.ptr + plain, text.len - plain);
    nm_write(writer, "\"");
}

void nm_json_write_number(nm_writer *writer, double number) {
    if (!isfinite(number)) {
        nm_write(writer, "null");
        return;
    }
    char string[32];
    for (int digits = SAFE_DIGITS; digits <= 17; digits++) {
        snprintf(string, sizeof string, "%.*g", digits, number);
        if (strtod(string, NULL) == number)
            break;
    }
    nm_write(writer, string);
}

static void write_entries(nm_writer *writer, const nm_json *value) {
    nm_write(writer, value->kind == NM_MAP ? "{" : "[");
    for (size_t number = 0; number < value->len; number++) {
        if (number)
            nm_write(writer, ",");
        if (value->kind == NM_MAP) {
            nm_json_write_text(writer, value->keys[number]);
            nm_write(writer, ":");
        }
        nm_json_write(writer, &value->items[number]);
    }
    nm_write(writer, value->kind == NM_MAP ? "}" : "]");
}

void nm_json_write(nm_writer *writer, const nm_json *value) {
    switch (value->kind) {
    case NM_NULL:
        nm_write(writer, "null");
        break;
    case NM_BOOL:
        nm_write(writer, value->boolean ? "true" : "false");
        break;
    case NM_NUMBER:
        if (value->text.len)
            nm_write_text(writer, value->text);
        else
            nm_json_write_number(writer, value->number);
        break;
    case NM_TEXT:
        nm_json_write_text(writer, value->text);
        break;
    case NM_LIST:
    case NM_MAP:
        write_entries(writer, value);
        break;
    }
}
