// Helper library for transformers in C.
//
// Define one `nephometer_transformer`, described at `nm_transformer`; export.c exports it. The rest
// makes the columns easy to use:
//
// * `nm_rows` iterates over the rows of a batch and looks up their meters and resources;
// * `nm_cache` keeps a value per meter or resource, for all of its rows;
// * `nm_answer_builder` builds the answer and numbers new meters and resources by content;
// * `nm_options` reads the options and collects all errors, each with its place;
// * `nm_complaint` writes one log line for all rows of a batch with the same problem;
// * `nm_log` writes to the log of the component;
// * `nm_json` and `nm_writer` read and write JSON, for metadata and for the state.
//
// The types are those of the header that `wit-bindgen c` generates, under shorter names. Native
// compilers compile all of it, too, so components are tested without a host: see nephometer_test.h.
// A component has no files, no clock and no standard output. The instance ends if memory runs out.

#ifndef NEPHOMETER_H
#define NEPHOMETER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stateful_transformer.h"

#define NM_FORMAT(place, arguments) __attribute__((format(printf, place, arguments)))

typedef stateful_transformer_string_t nm_text; // UTF-8, not terminated by a zero
typedef stateful_transformer_list_u8_t nm_bytes;
typedef nephometer_metering_types_meter_t nm_meter;
typedef nephometer_metering_types_resource_t nm_resource;
typedef exports_nephometer_metering_transform_batch_t nm_batch;
typedef nephometer_metering_types_exact_integer_t nm_exact;
typedef exports_nephometer_metering_transform_answer_t nm_answer;
typedef exports_nephometer_metering_transform_outcome_t nm_outcome;
typedef exports_nephometer_metering_transform_refusal_t nm_refusal;
typedef exports_nephometer_metering_stateful_option_answer_t nm_maybe_answer;
typedef exports_nephometer_metering_component_list_option_error_t nm_option_errors;

#define NM_GAUGE NEPHOMETER_METERING_TYPES_METER_TYPE_GAUGE
#define NM_DELTA NEPHOMETER_METERING_TYPES_METER_TYPE_DELTA
#define NM_CUMULATIVE NEPHOMETER_METERING_TYPES_METER_TYPE_CUMULATIVE

// The origin of a row that is not computed from an input row.
#define NM_NO_ORIGIN UINT32_MAX

// Every integer up to this one is exact as a double: 2^53.
#define NM_EXACT (INT64_C(1) << 53)

// Memory (text.c). `nm_resize` is realloc that ends the instance instead of failing.
void *nm_resize(void *memory, size_t count, size_t size);
// Enlarges an array for one more entry, to at least twice its capacity if it is full.
void *nm_reserve(void *array, size_t used, size_t *capacity, size_t size);

// Texts (text.c).

// The arguments for `%.*s`. Printing stops at a zero inside the text.
#define NM_PRINT(text) ((int)(text).len), ((const char *)(text).ptr)

// Borrows a C string.
nm_text nm_text_of(const char *string);
// A copy. Free it with stateful_transformer_string_free, as all texts that functions here return.
nm_text nm_text_copy(nm_text text);
bool nm_text_equal(nm_text one, nm_text other);
bool nm_text_is(nm_text text, const char *string);
// Negative, 0 or positive, by code points.
int nm_text_order(nm_text one, nm_text other);
uint64_t nm_text_hash(nm_text text, uint64_t before);
// A new text, formatted as by printf.
nm_text nm_text_print(const char *format, ...) NM_FORMAT(1, 2);

// A growing buffer; `(nm_writer){0}` is empty.
typedef struct nm_writer {
    uint8_t *bytes;
    size_t len;
    size_t capacity;
} nm_writer;

void nm_write_bytes(nm_writer *writer, const void *bytes, size_t len);
void nm_write_text(nm_writer *writer, nm_text text);
void nm_write(nm_writer *writer, const char *string);
void nm_print(nm_writer *writer, const char *format, ...) NM_FORMAT(2, 3);
void nm_print_list(nm_writer *writer, const char *format, va_list arguments) NM_FORMAT(2, 0);
// Returns what was written; the writer is empty again.
nm_text nm_written(nm_writer *writer);
void nm_writer_free(nm_writer *writer);

// A hash index of numbers (index.c); `(nm_index){0}` is empty. The caller compares what the numbers
// stand for.
typedef struct nm_slot {
    uint64_t hash;
    uint32_t number; // UINT32_MAX if free
} nm_slot;

typedef struct nm_index {
    nm_slot *slots;
    size_t capacity;
    size_t len;
} nm_index;

typedef struct nm_search {
    const nm_index *index;
    uint64_t hash;
    size_t position;
    uint32_t number; // the result
} nm_search;

nm_search nm_index_search(const nm_index *index, uint64_t hash);
// Advances to the next number with this hash; false if there is none.
bool nm_search_next(nm_search *search);
void nm_index_add(nm_index *index, uint64_t hash, uint32_t number);
void nm_index_free(nm_index *index);

// JSON (json.c): a tree of values.
typedef enum nm_kind { NM_NULL, NM_BOOL, NM_NUMBER, NM_TEXT, NM_LIST, NM_MAP } nm_kind;

typedef struct nm_json {
    nm_kind kind;
    bool boolean;
    double number;
    nm_text text;          // also of an integer whose digits a double may not hold
    struct nm_json *items; // of a list or a map
    nm_text *keys;         // of a map
    size_t len;
} nm_json;

// How deep lists and maps may be nested.
#define NM_JSON_DEPTH 128

// False if the text is not JSON, is nested too deep, or has a number beyond a double.
bool nm_json_read(nm_text text, nm_json *value);
// The value of a key of a map; NULL if it is absent. The last one counts if the key is repeated.
const nm_json *nm_json_get(const nm_json *map, const char *key);
const nm_json *nm_json_find(const nm_json *map, nm_text key);
// Equal as values: keys in any order.
bool nm_json_equal(const nm_json *one, const nm_json *other);
void nm_json_free(nm_json *value);
void nm_json_write(nm_writer *writer, const nm_json *value);
void nm_json_write_text(nm_writer *writer, nm_text text);
// Writes the 15 to 17 digits that read back as the same number; null if it is not finite.
void nm_json_write_number(nm_writer *writer, double number);

// Meters and resources (dictionary.c). The host sends each of them once, under a number, and the
// library keeps them. A number is valid within one instance, and the host reuses it for another
// entry once it is forgotten. Keep names and ids, never numbers.

// Parses the metadata of a resource. Parsing is expensive, so keep the result in a cache.
bool nm_resource_metadata(const nm_resource *resource, nm_json *metadata);
bool nm_meter_equal(const nm_meter *one, const nm_meter *other);
// Metadata are compared as texts.
bool nm_resource_equal(const nm_resource *one, const nm_resource *other);

typedef struct nm_known_meter {
    nm_meter meter;
    uint64_t serial; // unique; 0 if the number is unused
} nm_known_meter;

typedef struct nm_known_resource {
    nm_resource resource;
    uint64_t serial;
} nm_known_resource;

typedef struct nm_dictionary {
    nm_known_meter *meters; // by number
    size_t meters_capacity;
    nm_known_resource *resources; // by number
    size_t resources_capacity;
} nm_dictionary;

// The entries that rows look up. Only dictionary.c changes it.
extern nm_dictionary nm_host_entries;

// One row of a batch, with its meter and resource.
typedef struct nm_row {
    uint32_t number; // in the batch: the origin of rows computed from this one
    uint32_t meter_number;
    uint32_t resource_number;
    const nm_meter *meter;
    const nm_resource *resource;
    uint64_t time;         // when the value was read, in nanoseconds since the epoch
    uint64_t monotonic;    // nanoseconds of a clock that never goes back; 0 if unknown
    double volume;         // in the meter's unit
    const nm_exact *exact; // of an integer of 2^53 or more, or NULL; see nm_row_integer
} nm_row;

// The rows of a batch, in order:
//
//     nm_rows rows = nm_rows_of(batch);
//     for (nm_row row; nm_rows_next(&rows, &row);)
typedef struct nm_rows {
    const nm_batch *batch;
    uint32_t next;
    size_t next_exact;
} nm_rows;

static inline nm_rows nm_rows_of(const nm_batch *batch) {
    return (nm_rows){batch, 0, 0};
}

static inline bool nm_rows_next(nm_rows *rows, nm_row *row) {
    const nm_batch *batch = rows->batch;
    uint32_t number = rows->next;
    if (number >= batch->volume.len)
        return false;
    rows->next++;
    row->number = number;
    row->meter_number = batch->meter.ptr[number];
    row->resource_number = batch->resource.ptr[number];
    row->meter = &nm_host_entries.meters[row->meter_number].meter;
    row->resource = &nm_host_entries.resources[row->resource_number].resource;
    row->time = batch->time.ptr[number];
    row->monotonic = batch->monotonic.ptr[number];
    row->volume = batch->volume.ptr[number];
    row->exact = NULL;
    if (rows->next_exact < batch->exact.len && batch->exact.ptr[rows->next_exact].row == number)
        row->exact = &batch->exact.ptr[rows->next_exact++];
    return true;
}

// The exact value of a row; false if it is not a whole number.
static inline bool nm_row_integer(const nm_row *row, int64_t *value) {
    if (row->exact) {
        *value = row->exact->value;
        return true;
    }
    if (!(row->volume > -(double)NM_EXACT && row->volume < (double)NM_EXACT))
        return false;
    *value = (int64_t)row->volume;
    return (double)*value == row->volume;
}

// Keeps one item per meter or resource, so that it is computed once per entry instead of once per
// row. An item is zero at first, and zero again when its number stands for another entry, so it
// must not own memory. A pointer to an item is valid until the next lookup.
//
//     nm_cache cache = nm_cache_of(sizeof(price));
//     price *one = nm_cache_resource(&cache, &row);
//     if (!one->known)
//         *one = (price){.known = true, ...};
typedef struct nm_cache {
    size_t size; // of an item
    uint8_t *items;
    uint64_t *serials;
    size_t capacity;
} nm_cache;

static inline nm_cache nm_cache_of(size_t size) {
    return (nm_cache){size, NULL, NULL, 0};
}

// A zero item for an entry that the cache does not have.
void *nm_cache_renew(nm_cache *cache, uint32_t number, uint64_t serial);

static inline void *nm_cache_item(nm_cache *cache, uint32_t number, uint64_t serial) {
    if (number < cache->capacity && cache->serials[number] == serial)
        return cache->items + number * cache->size;
    return nm_cache_renew(cache, number, serial);
}

// The item of the row's meter.
static inline void *nm_cache_meter(nm_cache *cache, const nm_row *row) {
    uint32_t number = row->meter_number;
    return nm_cache_item(cache, number, nm_host_entries.meters[number].serial);
}

// The item of the row's resource.
static inline void *nm_cache_resource(nm_cache *cache, const nm_row *row) {
    uint32_t number = row->resource_number;
    return nm_cache_item(cache, number, nm_host_entries.resources[number].serial);
}

// Drops all items and frees the memory. Call it also at the end.
void nm_cache_clear(nm_cache *cache);

// Answers (answer.c), built row by row. The transformer's own meters and resources are numbered by
// content (own.c): the same content has the same number, and the host gets the entry once. A number
// is valid until the call from the host ends.
typedef struct nm_answer_builder {
    const nm_batch *batch;
    nm_answer answer; // without entries, which are added when the host gets it
    size_t rows_capacity;
    size_t exact_capacity;
    bool placed; // whether it has the columns resource and time
} nm_answer_builder;

// Begins the answer to a batch, which must outlive the builder; NULL for the answer to a flush.
nm_answer_builder nm_answer_to(const nm_batch *batch);
// The number of a meter of the transformer's own. A new one is copied.
uint32_t nm_answer_meter(nm_answer_builder *builder, const nm_meter *meter);
// The number of a resource of the transformer's own. A new one is copied. Empty metadata stands for
// `{}`.
uint32_t nm_answer_resource(nm_answer_builder *builder, const nm_resource *resource);
// Adds a row of the input unchanged.
void nm_answer_keep(nm_answer_builder *builder, const nm_row *row);
// Adds a row computed from an input row: same resource and time, another meter or value.
void nm_answer_derive(nm_answer_builder *builder, const nm_row *row, uint32_t meter, double volume);
// The same with an exact integer.
void nm_answer_derive_integer(nm_answer_builder *builder, const nm_row *row, uint32_t meter,
                              int64_t value);
// Adds a row that is not computed from an input row.
void nm_answer_create(nm_answer_builder *builder, uint32_t meter, uint32_t resource, uint64_t time,
                      double volume);
// The same with an exact integer.
void nm_answer_create_integer(nm_answer_builder *builder, uint32_t meter, uint32_t resource,
                              uint64_t time, int64_t value);
// Drops an unfinished answer. The host gets its new entries with the next answer.
void nm_answer_drop(nm_answer_builder *builder);

// Outcomes (answer.c), set at the end of a call.

// Replaces the batch by these rows; the builder is empty again.
void nm_replace(nm_outcome *outcome, nm_answer_builder *builder);
// Keeps these rows and drops all others: row numbers, ascending, copied.
void nm_keep(nm_outcome *outcome, const uint32_t *rows, size_t len);
// Emits these rows at the end of a polling cycle; the builder is empty again.
void nm_give(nm_maybe_answer *answer, nm_answer_builder *builder);

// Options (options.c): a reader of one mapping or list. All readers of one set of options share a
// list of errors, so that all of them are reported at once. A reader refers to its parent, which
// must outlive it. A value that is absent or null is false or empty; a value of another type than
// expected is an error, and absent.
typedef struct nm_options {
    const nm_json *value; // a mapping or a list, or NULL
    const struct nm_options *parent;
    nm_text key; // in the parent; its ptr is NULL for an item of a list
    size_t number;
    struct nm_option_list *errors;
} nm_options;

typedef struct nm_option_list {
    nm_option_errors list;
    size_t capacity;
} nm_option_list;

nm_options nm_options_of(const nm_json *options, nm_option_list *errors);
// The number of entries.
size_t nm_options_len(const nm_options *options);
// The key of an entry of a mapping; false if its value is null.
bool nm_options_key(const nm_options *options, size_t number, nm_text *key);
// The value of a key as it is, or NULL.
const nm_json *nm_options_value(const nm_options *options, nm_text key);
nm_options nm_options_map(const nm_options *options, nm_text key);
nm_options nm_options_list(const nm_options *options, nm_text key);
// The mapping at an index of a list.
nm_options nm_options_item(const nm_options *list, size_t number);
bool nm_options_text(const nm_options *options, const char *key, nm_text *text);
// True and false are not numbers.
bool nm_options_number(const nm_options *options, const char *key, double *number);
// Adds an error for the mapping or list itself.
void nm_options_refuse(const nm_options *options, const char *format, ...) NM_FORMAT(2, 3);
// Adds an error for a key.
void nm_options_refuse_key(const nm_options *options, const char *key, const char *format, ...)
    NM_FORMAT(3, 4);
// Logs a warning for each key that is not in `known`, which ends with NULL.
void nm_options_warn_of_unknown(const nm_options *options, const char *const *known);

// The log (log.c). Writes one line.
typedef enum nm_level { NM_TRACE, NM_DEBUG, NM_INFO, NM_WARN, NM_ERROR } nm_level;
void nm_log(nm_level level, const char *format, ...) NM_FORMAT(2, 3);

// One log line for all rows of a batch with the same problem.
typedef struct nm_complaint {
    nm_level level;
    const char *what; // what happens to the rows
    size_t rows;
    nm_writer first;
} nm_complaint;

nm_complaint nm_complaint_that(nm_level level, const char *what);
// Counts a row. The first one is named in the line, with the reason.
void nm_complaint_add(nm_complaint *complaint, const nm_row *row, const char *format, ...)
    NM_FORMAT(3, 4);
// Writes the line, unless there are no rows; the complaint is empty again.
void nm_complaint_write(nm_complaint *complaint);

// The definition of a transformer (export.c).

// The default is all meters and no metadata. The arrays end with NULL and are copied.
typedef struct nm_settings {
    const char *const *meters;   // globs of meter names; rows of other meters bypass the component
    const char *const *metadata; // paths into the metadata
} nm_settings;

typedef struct nm_transformer {
    const char *name;
    const char *version;
    const char *summary;
    const char *options_schema; // JSON Schema (2020-12); "" to accept any options
    uint32_t state_version;     // version of the format that `save` writes; 0 without state

    // Builds the object that the other functions receive as `self`. If errors were added to the
    // options, the result is dropped.
    void *(*make)(const nm_options *options, nm_settings *settings);
    void (*drop)(void *self);
    // Transforms a batch, which passes unchanged unless the outcome is set. False with a refusal.
    bool (*transform)(void *self, const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal);
    // All three are NULL if nothing is kept between batches.
    bool (*flush)(void *self, uint64_t now, nm_maybe_answer *answer, nm_refusal *refusal);
    bool (*save)(void *self, nm_writer *state, nm_text *error);
    bool (*restore)(void *self, uint32_t version, nm_text state, nm_text *error);
} nm_transformer;

// Defined by the author.
extern const nm_transformer nephometer_transformer;

// Sets the refusal: this batch cannot be transformed; the next one may. Returns false, for `return
// nm_rejected(...)`. An outcome that was set is dropped.
bool nm_rejected(nm_refusal *refusal, const char *format, ...) NM_FORMAT(2, 3);
// Sets the refusal: no batch can be transformed until an operator acts. Returns false.
bool nm_broken(nm_refusal *refusal, const char *format, ...) NM_FORMAT(2, 3);
// Sets the reason why the state cannot be saved or restored. Returns false.
bool nm_state_error(nm_text *error, const char *format, ...) NM_FORMAT(2, 3);

#endif
