// Builds batches from samples and samples from outcomes, and stands in for the host's log.

#include "nephometer_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

static size_t failures;

bool nm_check(bool holds, const char *file, int line, const char *format, ...) {
    if (holds)
        return true;
    failures++;
    fprintf(stderr, "%s:%d: ", file, line);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return false;
}

int nm_test_result(void) {
    if (failures)
        fprintf(stderr, "%zu failed\n", failures);
    else
        puts("ok: all checks passed");
    return failures != 0;
}

static _Noreturn void abort_test(const char *what, const char *about) {
    fprintf(stderr, "%s: %s\n", about, what);
    exit(1);
}

nm_text nm_test_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file)
        abort_test("cannot be read", path);
    nm_writer writer = {0};
    char part[4096];
    for (size_t len; (len = fread(part, 1, sizeof part, file)) > 0;)
        nm_write_bytes(&writer, part, len);
    fclose(file);
    nm_write_bytes(&writer, "", 1);
    nm_text text = nm_written(&writer);
    text.len--;
    return text;
}

nm_json nm_test_json(nm_text text) {
    nm_json value;
    if (!nm_json_read(text, &value))
        abort_test("malformed", "JSON");
    return value;
}

// Stand-ins for the functions that the generated code imports.

enum { MAX_LINES = 1000 };
static stateful_transformer_list_string_t lines;
static size_t lines_capacity;

void __wasm_import_nephometer_metering_log_write(int32_t level, uint8_t *message, size_t len) {
    static const char *const levels[] = {"trace", "debug", "info", "warn", "error"};
    if (lines.len == MAX_LINES)
        return;
    nm_writer line = {0};
    nm_print(&line, "%s: ", levels[level]);
    nm_write_bytes(&line, message, len);
    lines.ptr = nm_reserve(lines.ptr, lines.len, &lines_capacity, sizeof *lines.ptr);
    lines.ptr[lines.len++] = nm_written(&line);
}

void __component_type_object_force_link_stateful_transformer(void) {}

stateful_transformer_list_string_t nm_test_log(void) {
    stateful_transformer_list_string_t taken = lines;
    lines = (stateful_transformer_list_string_t){NULL, 0};
    lines_capacity = 0;
    return taken;
}

static bool read_digits(const char **at, int count, int *value) {
    *value = 0;
    for (; count > 0; count--, ++*at) {
        if (**at < '0' || **at > '9')
            return false;
        *value = *value * 10 + (**at - '0');
    }
    return true;
}

static bool read_field(const char **at, const char *before, int *value) {
    if (!strchr(before, **at) || !**at)
        return false;
    ++*at;
    return read_digits(at, 2, value);
}

static int64_t days_of(int year, int month, int day) {
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int last = year - 1;
    int64_t leaps = last / 4 - last / 100 + last / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return (year - 1970) * INT64_C(365) + leaps + before[month - 1] + (leap && month > 2) + day - 1;
}

bool nm_test_nanoseconds(nm_text timestamp, uint64_t *nanoseconds) {
    char string[64] = "";
    if (timestamp.len >= sizeof string)
        return false;
    memcpy(string, timestamp.ptr, timestamp.len);
    const char *at = string;
    int year, month, day, hour, minute, second, away = 0, away_minutes = 0;
    if (!read_digits(&at, 4, &year) || !read_field(&at, "-", &month) ||
        !read_field(&at, "-", &day) || !read_field(&at, "T ", &hour) ||
        !read_field(&at, ":", &minute) || !read_field(&at, ":", &second))
        return false;
    if (month < 1 || month > 12)
        return false;
    int64_t fraction = 0;
    if (*at == '.')
        for (int64_t digit = 100000000; *++at >= '0' && *at <= '9'; digit /= 10)
            fraction += (*at - '0') * digit;
    int sign = *at == '-' ? -1 : 1;
    if (*at == 'Z')
        at++;
    else if (*at && (!read_field(&at, "+-", &away) || !read_field(&at, ":", &away_minutes)))
        return false;
    int64_t seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    seconds -= sign * (away * 3600 + away_minutes * 60);
    *nanoseconds = (uint64_t)(seconds * INT64_C(1000000000) + fraction);
    return *at == 0 && seconds >= 0;
}

static const nm_json *field(const nm_json *sample, const nm_json *defaults, const char *key) {
    const nm_json *value = nm_json_get(sample, key);
    return value || !defaults ? value : nm_json_get(defaults, key);
}

static nm_text text_of(const nm_json *value, const char *otherwise) {
    if (value && value->kind == NM_TEXT)
        return value->text;
    if (!otherwise)
        abort_test("a key with a string is missing", "a sample");
    return nm_text_of(otherwise);
}

static uint8_t type_of(nm_text name) {
    if (nm_text_is(name, "gauge"))
        return NM_GAUGE;
    if (!nm_text_is(name, "delta") && !nm_text_is(name, "cumulative"))
        abort_test("type is not gauge, delta or cumulative", "a sample");
    return nm_text_is(name, "delta") ? NM_DELTA : NM_CUMULATIVE;
}

static stateful_transformer_option_string_t optional_text(const nm_json *value) {
    if (!value || value->kind != NM_TEXT)
        return (stateful_transformer_option_string_t){0};
    return (stateful_transformer_option_string_t){true, value->text};
}

bool nm_test_integer(const nm_json *volume, int64_t *value) {
    // nm_json keeps the text of an integer that a double may not hold.
    if (volume->text.len == 0 || volume->text.len > 20)
        return false;
    char string[24] = "";
    memcpy(string, volume->text.ptr, volume->text.len);
    errno = 0;
    *value = strtoll(string, NULL, 10);
    return errno == 0 && (*value >= NM_EXACT || *value <= -NM_EXACT);
}

static uint32_t meter_number(const nm_json *sample, const nm_json *defaults) {
    nm_meter meter = {
        text_of(field(sample, defaults, "name"), NULL),
        text_of(field(sample, defaults, "unit"), NULL),
        type_of(text_of(field(sample, defaults, "type"), NULL)),
    };
    return nm_test_meter_number(&meter);
}

static uint32_t resource_number(const nm_json *sample, const nm_json *defaults) {
    nm_writer metadata = {0};
    const nm_json *value = field(sample, defaults, "resource_metadata");
    if (value)
        nm_json_write(&metadata, value);
    else
        nm_write(&metadata, "{}");
    nm_resource resource = {
        .id = text_of(field(sample, defaults, "resource_id"), NULL),
        .source = text_of(field(sample, defaults, "source"), "openstack"),
        .project_id = optional_text(field(sample, defaults, "project_id")),
        .user_id = optional_text(field(sample, defaults, "user_id")),
        .metadata = nm_written(&metadata),
    };
    uint32_t number = nm_test_resource_number(&resource);
    stateful_transformer_string_free(&resource.metadata);
    return number;
}

#define COLUMN(column, rows)                                                                       \
    ((column)->ptr = (rows) ? nm_resize(NULL, rows, sizeof *(column)->ptr) : NULL,                 \
     (column)->len = (rows))

nm_batch nm_test_batch(const nm_json *samples, const nm_json *defaults) {
    nm_batch batch = {0};
    COLUMN(&batch.meter, samples->len);
    COLUMN(&batch.resource, samples->len);
    COLUMN(&batch.time, samples->len);
    COLUMN(&batch.monotonic, samples->len);
    COLUMN(&batch.volume, samples->len);
    size_t exact_capacity = 0;
    for (size_t row = 0; row < samples->len; row++) {
        const nm_json *sample = &samples->items[row];
        const nm_json *volume = field(sample, defaults, "volume");
        nm_text timestamp = text_of(field(sample, defaults, "timestamp"), NULL);
        if (!volume || !nm_test_nanoseconds(timestamp, &batch.time.ptr[row]))
            abort_test("volume or timestamp is missing", "a sample");
        batch.meter.ptr[row] = meter_number(sample, defaults);
        batch.resource.ptr[row] = resource_number(sample, defaults);
        batch.monotonic.ptr[row] = 0;
        batch.volume.ptr[row] = volume->number;
        nm_exact exact = {.row = (uint32_t)row};
        if (!nm_test_integer(volume, &exact.value))
            continue;
        nm_exact *all = nm_reserve(batch.exact.ptr, batch.exact.len, &exact_capacity, sizeof exact);
        all[batch.exact.len++] = exact;
        batch.exact.ptr = all;
    }
    return batch;
}

void nm_test_removed(nm_batch *batch, nm_text id) {
    stateful_transformer_list_string_t *ids = &batch->removed;
    ids->ptr = nm_resize(ids->ptr, ids->len + 1, sizeof *ids->ptr);
    ids->ptr[ids->len++] = nm_text_copy(id);
}

static void *copied(const void *items, size_t len, size_t size) {
    return len ? memcpy(nm_resize(NULL, len, size), items, len * size) : NULL;
}

// A copy, because the library frees its arguments.
static nm_batch batch_copy(const nm_batch *batch) {
    nm_batch copy = *batch;
    copy.meter.ptr = copied(batch->meter.ptr, batch->meter.len, sizeof(uint32_t));
    copy.resource.ptr = copied(batch->resource.ptr, batch->resource.len, sizeof(uint32_t));
    copy.time.ptr = copied(batch->time.ptr, batch->time.len, sizeof(uint64_t));
    copy.monotonic.ptr = copied(batch->monotonic.ptr, batch->monotonic.len, sizeof(uint64_t));
    copy.volume.ptr = copied(batch->volume.ptr, batch->volume.len, sizeof(double));
    copy.exact.ptr = copied(batch->exact.ptr, batch->exact.len, sizeof(nm_exact));
    copy.removed.ptr = copied(batch->removed.ptr, batch->removed.len, sizeof(nm_text));
    for (size_t number = 0; number < copy.removed.len; number++)
        copy.removed.ptr[number] = nm_text_copy(copy.removed.ptr[number]);
    return copy;
}

bool nm_test_configure(nm_text options, nm_option_errors *errors) {
    exports_nephometer_metering_component_settings_t settings;
    *errors = (nm_option_errors){NULL, 0};
    if (!exports_nephometer_metering_component_configure(&options, &settings, errors))
        return false;
    exports_nephometer_metering_component_settings_free(&settings);
    nm_test_new_instance();
    return true;
}

// The exact value of an input row; false if it has none.
static bool exact_input(const nm_batch *batch, uint32_t row, int64_t *value) {
    for (size_t at = 0; at < batch->exact.len; at++) {
        if (batch->exact.ptr[at].row != row)
            continue;
        *value = batch->exact.ptr[at].value;
        return true;
    }
    return false;
}

// Adds a row of an outcome. A row with the volume of its origin keeps its exact value.
static void add_sample(nm_samples *samples, nm_sample sample, const nm_exact *exact) {
    const nm_batch *batch = &samples->batch;
    if (exact) {
        sample.is_exact = true;
        sample.exact = exact->value;
        NM_CHECK((double)exact->value == sample.volume, "exact value is not the volume of its row");
    } else if (sample.origin != NM_NO_ORIGIN && sample.volume == batch->volume.ptr[sample.origin]) {
        sample.is_exact = exact_input(batch, sample.origin, &sample.exact);
    }
    samples->all[samples->len++] = sample;
}

static void add_input(nm_samples *samples, uint32_t row) {
    const nm_batch *batch = &samples->batch;
    if (!NM_CHECK(row < batch->volume.len, "row %u is not in the batch", (unsigned)row))
        return;
    nm_sample sample = {
        .meter = nm_test_meter(batch->meter.ptr[row]),
        .resource = nm_test_resource(batch->resource.ptr[row]),
        .time = batch->time.ptr[row],
        .volume = batch->volume.ptr[row],
        .origin = row,
    };
    add_sample(samples, sample, NULL);
}

// Converts derived rows to an answer, with resources and times of the origins.
static bool with_resource_and_time(const nm_batch *batch,
                   const exports_nephometer_metering_transform_derived_t *rows,
                   nm_answer *answer) {
    size_t len = rows->origin.len;
    *answer = (nm_answer){.origin = rows->origin, .meter = rows->meter, .volume = rows->volume,
                          .exact = rows->exact};
    COLUMN(&answer->resource, len);
    COLUMN(&answer->time, len);
    for (size_t row = 0; row < len; row++) {
        uint32_t origin = rows->origin.ptr[row];
        if (!NM_CHECK(origin < batch->volume.len, "row %zu has no origin", row) ||
            !NM_CHECK(!row || origin >= rows->origin.ptr[row - 1], "origins descend"))
            return false;
        answer->resource.ptr[row] = batch->resource.ptr[origin];
        answer->time.ptr[row] = batch->time.ptr[origin];
    }
    return true;
}

static void add_answer(nm_samples *samples, const nm_answer *answer) {
    size_t rows = answer->volume.len, exact = 0;
    bool even = answer->origin.len == rows && answer->meter.len == rows &&
                answer->resource.len == rows && answer->time.len == rows;
    if (!NM_CHECK(even, "columns of unequal length"))
        return;
    samples->all = nm_resize(NULL, rows, sizeof *samples->all);
    for (size_t row = 0; row < rows; row++) {
        nm_sample sample = {
            .meter = nm_test_meter(answer->meter.ptr[row]),
            .resource = nm_test_resource(answer->resource.ptr[row]),
            .time = answer->time.ptr[row],
            .volume = answer->volume.ptr[row],
            .origin = answer->origin.ptr[row],
        };
        bool there = sample.meter && sample.resource &&
                     (sample.origin == NM_NO_ORIGIN || sample.origin < samples->batch.volume.len);
        const nm_exact *next = &answer->exact.ptr[exact];
        bool has_exact = exact < answer->exact.len && next->row == row;
        exact += has_exact;
        if (NM_CHECK(there, "a number of row %zu is unknown", row))
            add_sample(samples, sample, has_exact ? next : NULL);
    }
    NM_CHECK(exact == answer->exact.len, "exact values of unknown rows, or not ascending");
}

static void add_derived(nm_samples *samples) {
    nm_answer answer;
    if (with_resource_and_time(&samples->batch, &samples->outcome.val.derive, &answer))
        add_answer(samples, &answer);
    stateful_transformer_list_u32_free(&answer.resource);
    exports_nephometer_metering_transform_list_timestamp_free(&answer.time);
}

static void check_batch(const nm_batch *batch) {
    for (size_t row = 0; row < batch->volume.len; row++)
        if (!nm_test_meter(batch->meter.ptr[row]) || !nm_test_resource(batch->resource.ptr[row]))
            abort_test("was made for another instance, or has removed resources", "a batch");
}

bool nm_test_transform(nm_batch batch, nm_samples *samples, nm_refusal *refusal) {
    check_batch(&batch);
    *samples = (nm_samples){.batch = batch};
    nm_batch input = batch_copy(&batch);
    nm_outcome *outcome = &samples->outcome;
    bool done = exports_nephometer_metering_transform_transform(&input, outcome, refusal);
    if (!done)
        outcome->tag = EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_UNCHANGED;
    size_t rows = outcome->tag == EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_KEEP
                      ? outcome->val.keep.len
                      : batch.volume.len;
    switch (outcome->tag) {
    case EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_REPLACE:
        nm_test_take(&outcome->val.replace.meters, &outcome->val.replace.resources);
        add_answer(samples, &outcome->val.replace);
        break;
    case EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_DERIVE:
        nm_test_take(&outcome->val.derive.meters, NULL);
        add_derived(samples);
        break;
    case EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_KEEP:
        samples->all = nm_resize(NULL, rows, sizeof *samples->all);
        for (size_t row = 0; row < rows; row++)
            add_input(samples, outcome->val.keep.ptr[row]);
        break;
    default:
        samples->all = nm_resize(NULL, rows, sizeof *samples->all);
        for (size_t row = 0; row < rows; row++)
            add_input(samples, (uint32_t)row);
    }
    for (size_t number = 0; number < batch.removed.len; number++)
        nm_test_forget(batch.removed.ptr[number]);
    if (!done)
        nm_samples_free(samples);
    return done;
}

bool nm_test_flush(uint64_t now, nm_samples *samples, nm_refusal *refusal) {
    *samples = (nm_samples){0};
    nm_maybe_answer answer;
    if (!exports_nephometer_metering_stateful_flush(now, &answer, refusal))
        return false;
    if (answer.is_some) {
        samples->outcome.tag = EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_REPLACE;
        samples->outcome.val.replace = answer.val;
        nm_test_take(&answer.val.meters, &answer.val.resources);
        add_answer(samples, &answer.val);
    }
    return true;
}

void nm_samples_free(nm_samples *samples) {
    free(samples->all);
    exports_nephometer_metering_transform_outcome_free(&samples->outcome);
    exports_nephometer_metering_transform_batch_free(&samples->batch);
    *samples = (nm_samples){0};
}
