// What authors of transformers in C build on.
//
// Define one `nephometer_transformer` as `nm_transformer` describes it; export.c exports it as the
// contract has it. The rest makes the columns pleasant:
//
// * `nm_rows` walks the rows of a batch and looks up their meters and resources;
// * `nm_cache` keeps what was computed of a meter or a resource, for all of its rows;
// * `nm_answer_builder` makes the answer and numbers new meters and resources by their content;
// * `nm_options` reads the options and collects all that is wrong, each with its place;
// * `nm_complaint` makes one line of log of all rows of a batch that have the same trouble;
// * `nm_log` writes to the component's log;
// * `nm_json` and `nm_writer` read and write JSON, for metadata and for the state.
//
// The columns are those of the header that `wit-bindgen c` makes of the contract; its names are
// long, so there are short ones here. All of it is compiled by the machine's own compiler too, so
// components are tested without a host: see nephometer_test.h. A component has no files, no clock
// and no standard output. When memory ends the instance ends.

#ifndef NEPHOMETER_H
#define NEPHOMETER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stateful_transformer.h"

#define NM_FORMAT(place, arguments) __attribute__((format(printf, place, arguments)))

typedef stateful_transformer_string_t nm_text; // UTF-8, not ended by a zero
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

// The origin of a row that comes from no input row.
#define NM_NO_ORIGIN UINT32_MAX

// A double holds every integer up to here: 2^53.
#define NM_EXACT (INT64_C(1) << 53)

// Memory (text.c). `nm_resize` is realloc that ends the instance instead of failing.
void *nm_resize(void *memory, size_t count, size_t size);
// Room for one more entry of an array, at least twice as much as before if it is full.
void *nm_reserve(void *array, size_t used, size_t *capacity, size_t size);

// Texts (text.c).

// A text for `%.*s`; a zero inside ends what is printed.
#define NM_PRINT(text) ((int)(text).len), ((const char *)(text).ptr)

// Borrows a C string.
nm_text nm_text_of(const char *string);
// A copy, to be freed with stateful_transformer_string_free, as all texts that are made here.
nm_text nm_text_copy(nm_text text);
bool nm_text_equal(nm_text one, nm_text other);
bool nm_text_is(nm_text text, const char *string);
// Below, at or above 0, by code points.
int nm_text_order(nm_text one, nm_text other);
uint64_t nm_text_hash(nm_text text, uint64_t before);
// A new text, as printf makes it.
nm_text nm_text_print(const char *format, ...) NM_FORMAT(1, 2);

// Bytes that grow; `(nm_writer){0}` is empty.
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
// What has been written; the writer is empty again.
nm_text nm_written(nm_writer *writer);
void nm_writer_free(nm_writer *writer);

// Which numbers have a hash (index.c); `(nm_index){0}` is empty. What the numbers stand for is up
// to the caller, and so is whether it is equal.
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
    size_t place;
    uint32_t number; // found
} nm_search;

nm_search nm_index_search(const nm_index *index, uint64_t hash);
// To the next number with this hash; false if there is none.
bool nm_search_next(nm_search *search);
void nm_index_add(nm_index *index, uint64_t hash, uint32_t number);
void nm_index_free(nm_index *index);

// JSON (json.c): a tree of values.
typedef enum nm_kind { NM_NULL, NM_BOOL, NM_NUMBER, NM_TEXT, NM_LIST, NM_MAP } nm_kind;

typedef struct nm_json {
    nm_kind kind;
    bool boolean;
    double number;
    nm_text text;          // of a whole number too, if a double may not hold all of its digits
    struct nm_json *items; // of a list or a map
    nm_text *keys;         // of a map
    size_t len;
} nm_json;

// How deep lists and maps may stand in each other.
#define NM_JSON_DEPTH 128

// False if the text is no JSON, or too deep, or holds a number beyond a double.
bool nm_json_read(nm_text text, nm_json *value);
// The value of a key of a map; NULL if it is absent. The last has the say if it is there twice.
const nm_json *nm_json_get(const nm_json *map, const char *key);
const nm_json *nm_json_find(const nm_json *map, nm_text key);
// Equal as values: keys in any order.
bool nm_json_equal(const nm_json *one, const nm_json *other);
void nm_json_free(nm_json *value);
void nm_json_write(nm_writer *writer, const nm_json *value);
void nm_json_write_text(nm_writer *writer, nm_text text);
// 15 to 17 digits, so that the same number is read again; null if it is not finite.
void nm_json_write_number(nm_writer *writer, double number);

// Meters and resources (dictionary.c). The host sends each of them once, under a number, and the
// library keeps them. A number is valid within one instance, and the host reuses it for another
// entry once it is forgotten. Keep names and ids, never numbers.

// The metadata of a resource; as expensive as reading JSON is, so keep in a cache what is needed.
bool nm_resource_metadata(const nm_resource *resource, nm_json *metadata);
bool nm_meter_equal(const nm_meter *one, const nm_meter *other);
// Metadata are compared as texts.
bool nm_resource_equal(const nm_resource *one, const nm_resource *other);

typedef struct nm_known_meter {
    nm_meter meter;
    uint64_t serial; // never used again; 0 if the number is unused
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

// What rows look up. Only dictionary.c changes it.
extern nm_dictionary nm_host_entries;

// One row of a batch, its meter and its resource looked up.
typedef struct nm_row {
    uint32_t number; // in the batch: the origin of what is computed from it
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

// What a transformer keeps per meter, or per resource, so that it is computed once and not for
// every row. An item is zero at first, and zero again when its number stands for another entry, so
// it must not own memory. It is valid until the cache is asked again.
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

// Throws all items away; also what has to be called at the end.
void nm_cache_clear(nm_cache *cache);

// Answers (answer.c): made row by row. Meters and resources of the transformer's own are numbered
// by their content (own.c): asking for the same one again gives the same number, and the host gets
// it once. A number is valid until the call from the host ends.
typedef struct nm_answer_builder {
    const nm_batch *batch;
    nm_answer answer; // without entries: they are added when the host gets it
    size_t rows_capacity;
    size_t exact_capacity;
    bool placed; // whether it has the columns resource and time
} nm_answer_builder;

// NULL for the answer to a flush. The batch has to stay as long as the builder.
nm_answer_builder nm_answer_to(const nm_batch *batch);
// The number of a meter of the transformer's own; what is new is copied.
uint32_t nm_answer_meter(nm_answer_builder *builder, const nm_meter *meter);
// The number of a resource of the transformer's own; what is new is copied. Metadata without text
// stand for `{}`.
uint32_t nm_answer_resource(nm_answer_builder *builder, const nm_resource *resource);
// Adds a row that passes as it is.
void nm_answer_keep(nm_answer_builder *builder, const nm_row *row);
// Adds a row computed from another: same resource and time, another meter and value.
void nm_answer_derive(nm_answer_builder *builder, const nm_row *row, uint32_t meter, double volume);
// The same with a value that is exact beyond 2^53 too.
void nm_answer_derive_integer(nm_answer_builder *builder, const nm_row *row, uint32_t meter,
                              int64_t value);
// Adds a row that comes from no input row.
void nm_answer_create(nm_answer_builder *builder, uint32_t meter, uint32_t resource, uint64_t time,
                      double volume);
// The same with a value that is exact beyond 2^53 too.
void nm_answer_create_integer(nm_answer_builder *builder, uint32_t meter, uint32_t resource,
                              uint64_t time, int64_t value);
// Throws an unfinished answer away. The host gets its new entries with the next answer.
void nm_answer_drop(nm_answer_builder *builder);

// Outcomes (answer.c), at the end of a call.

// These rows replace those of the input; the builder is empty again.
void nm_replace(nm_outcome *outcome, nm_answer_builder *builder);
// These rows pass, the others are dropped: row numbers, ascending, copied.
void nm_keep(nm_outcome *outcome, const uint32_t *rows, size_t len);
// These rows come at the end of a polling cycle; the builder is empty again.
void nm_give(nm_maybe_answer *answer, nm_answer_builder *builder);

// Options (options.c): one mapping or list. All readers of one set of options share a list of
// errors, so that everything that is wrong is reported at once. A reader refers to the one that it
// came from, which has to stay as long. What is absent or null is false, or empty; what is of
// another type than asked for is an error, and absent.
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
// How many entries there are.
size_t nm_options_len(const nm_options *options);
// The key of an entry of a mapping; false if its value is null.
bool nm_options_key(const nm_options *options, size_t number, nm_text *key);
// The value of a key as it stands, or NULL.
const nm_json *nm_options_value(const nm_options *options, nm_text key);
nm_options nm_options_map(const nm_options *options, nm_text key);
nm_options nm_options_list(const nm_options *options, nm_text key);
// The mapping at a place in a list.
nm_options nm_options_item(const nm_options *list, size_t number);
bool nm_options_text(const nm_options *options, const char *key, nm_text *text);
// True and false are no numbers here.
bool nm_options_number(const nm_options *options, const char *key, double *number);
// Notes that something is wrong with what this reads.
void nm_options_refuse(const nm_options *options, const char *format, ...) NM_FORMAT(2, 3);
// Notes that something is wrong with a key.
void nm_options_refuse_key(const nm_options *options, const char *key, const char *format, ...)
    NM_FORMAT(3, 4);
// Accepts keys that nobody reads, and says so in the log. `known` ends with NULL.
void nm_options_warn_of_unknown(const nm_options *options, const char *const *known);

// The log (log.c): one line.
typedef enum nm_level { NM_TRACE, NM_DEBUG, NM_INFO, NM_WARN, NM_ERROR } nm_level;
void nm_log(nm_level level, const char *format, ...) NM_FORMAT(2, 3);

// One line of log for all rows of a batch that have the same trouble.
typedef struct nm_complaint {
    nm_level level;
    const char *what; // happens to the rows
    size_t rows;
    nm_writer first;
} nm_complaint;

nm_complaint nm_complaint_that(nm_level level, const char *what);
// One more row, and why; the first is named.
void nm_complaint_add(nm_complaint *complaint, const nm_row *row, const char *format, ...)
    NM_FORMAT(3, 4);
// Writes the line, if there is something to say, and is empty again.
void nm_complaint_write(nm_complaint *complaint);

// What a transformer is made of (export.c).

// All meters and no metadata, if left out. The arrays end with NULL and are copied.
typedef struct nm_settings {
    const char *const *meters;   // globs of meter names; rows of others pass by, uncopied
    const char *const *metadata; // paths into the metadata
} nm_settings;

typedef struct nm_transformer {
    const char *name;
    const char *version;
    const char *summary;
    const char *options_schema; // JSON Schema (2020-12); "" if anything goes
    uint32_t state_version;     // of the format that `save` writes; 0 if it keeps no state

    // Makes what the other functions are given; what is wrong is noted in the options, and then
    // what is returned is thrown away.
    void *(*make)(const nm_options *options, nm_settings *settings);
    void (*drop)(void *self);
    // What replaces a batch; unchanged unless the outcome is set. False with a refusal.
    bool (*transform)(void *self, const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal);
    // NULL, all three, if nothing is kept between batches.
    bool (*flush)(void *self, uint64_t now, nm_maybe_answer *answer, nm_refusal *refusal);
    bool (*save)(void *self, nm_writer *state, nm_text *error);
    bool (*restore)(void *self, uint32_t version, nm_text state, nm_text *error);
} nm_transformer;

// The author's.
extern const nm_transformer nephometer_transformer;

// This batch cannot be transformed; the next one may. Always false, to be returned. An outcome that
// was set is thrown away.
bool nm_rejected(nm_refusal *refusal, const char *format, ...) NM_FORMAT(2, 3);
// No batch can be transformed until an operator acts. Always false, to be returned.
bool nm_broken(nm_refusal *refusal, const char *format, ...) NM_FORMAT(2, 3);
// The state cannot be saved, or is none that this component reads. Always false, to be returned.
bool nm_state_error(nm_text *error, const char *format, ...) NM_FORMAT(2, 3);

#endif
