// Reads options and collects errors.

#include "nephometer.h"

static const char *kind_of(const nm_json *value) {
    switch (value->kind) {
    case NM_BOOL:
        return "a boolean";
    case NM_NUMBER:
        return "a number";
    case NM_TEXT:
        return "a string";
    case NM_LIST:
        return "a list";
    case NM_MAP:
        return "a mapping";
    default:
        return "null";
    }
}

// Writes the JSON Pointer (RFC 6901) of a reader.
static void write_pointer(nm_writer *writer, const nm_options *options) {
    if (!options->parent)
        return;
    write_pointer(writer, options->parent);
    nm_write(writer, "/");
    if (!options->key.ptr) {
        nm_print(writer, "%zu", options->number);
        return;
    }
    for (size_t place = 0; place < options->key.len; place++) {
        uint8_t one = options->key.ptr[place];
        if (one == '~')
            nm_write(writer, "~0");
        else if (one == '/')
            nm_write(writer, "~1");
        else
            nm_write_bytes(writer, &one, 1);
    }
}

static void refuse(const nm_options *options, const char *format, va_list arguments) {
    nm_option_list *errors = options->errors;
    nm_option_errors *list = &errors->list;
    list->ptr = nm_reserve(list->ptr, list->len, &errors->capacity, sizeof *list->ptr);
    nm_writer pointer = {0}, reason = {0};
    write_pointer(&pointer, options);
    nm_print_list(&reason, format, arguments);
    list->ptr[list->len].pointer = nm_written(&pointer);
    list->ptr[list->len++].reason = nm_written(&reason);
}

void nm_options_refuse(const nm_options *options, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    refuse(options, format, arguments);
    va_end(arguments);
}

// An empty key is a key, too: only items of lists have none.
static nm_text key_text(nm_text key) {
    return key.ptr ? key : nm_text_of("");
}

static nm_options below(const nm_options *options, nm_text key) {
    return (nm_options){
        .value = nm_options_value(options, key),
        .parent = options,
        .key = key_text(key),
        .errors = options->errors,
    };
}

void nm_options_refuse_key(const nm_options *options, const char *key, const char *format, ...) {
    nm_options place = below(options, nm_text_of(key));
    va_list arguments;
    va_start(arguments, format);
    refuse(&place, format, arguments);
    va_end(arguments);
}

static nm_options of_kind(nm_options options, nm_kind kind, const char *wanted) {
    const nm_json *value = options.value;
    if (value && value->kind == kind)
        return options;
    if (value && value->kind != NM_NULL)
        nm_options_refuse(&options, "is %s; expected %s", kind_of(value), wanted);
    options.value = NULL;
    return options;
}

static nm_options mapping(nm_options options) {
    return of_kind(options, NM_MAP, "a mapping of keys to values");
}

nm_options nm_options_of(const nm_json *options, nm_option_list *errors) {
    return mapping((nm_options){.value = options, .errors = errors});
}

size_t nm_options_len(const nm_options *options) {
    return options->value ? options->value->len : 0;
}

bool nm_options_key(const nm_options *options, size_t number, nm_text *key) {
    const nm_json *value = options->value;
    if (!value || value->kind != NM_MAP || number >= value->len)
        return false;
    *key = value->keys[number];
    return value->items[number].kind != NM_NULL;
}

const nm_json *nm_options_value(const nm_options *options, nm_text key) {
    return options->value ? nm_json_find(options->value, key) : NULL;
}

nm_options nm_options_map(const nm_options *options, nm_text key) {
    return mapping(below(options, key));
}

nm_options nm_options_list(const nm_options *options, nm_text key) {
    return of_kind(below(options, key), NM_LIST, "a list");
}

nm_options nm_options_item(const nm_options *list, size_t number) {
    return mapping((nm_options){
        .value = number < nm_options_len(list) ? &list->value->items[number] : NULL,
        .parent = list,
        .number = number,
        .errors = list->errors,
    });
}

bool nm_options_text(const nm_options *options, const char *key, nm_text *text) {
    nm_options found = of_kind(below(options, nm_text_of(key)), NM_TEXT, "a string");
    if (found.value)
        *text = found.value->text;
    return found.value != NULL;
}

bool nm_options_number(const nm_options *options, const char *key, double *number) {
    nm_options found = of_kind(below(options, nm_text_of(key)), NM_NUMBER, "a number");
    if (found.value)
        *number = found.value->number;
    return found.value != NULL;
}

void nm_options_warn_of_unknown(const nm_options *options, const char *const *known) {
    for (size_t number = 0; number < nm_options_len(options); number++) {
        nm_text key = options->value->keys[number];
        const char *const *one = known;
        while (*one && !nm_text_is(key, *one))
            one++;
        if (*one)
            continue;
        nm_options place = below(options, key);
        nm_writer pointer = {0};
        write_pointer(&pointer, &place);
        nm_text text = nm_written(&pointer);
        nm_log(NM_WARN, "unknown option %.*s is ignored", NM_PRINT(text));
        stateful_transformer_string_free(&text);
    }
}
