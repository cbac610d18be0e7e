#include "nephometer_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        puts("ok");
    return failures != 0;
}

static _Noreturn void give_up(const char *what, const char *about) {
    fprintf(stderr, "%s: %s\n", about, what);
    exit(1);
}

nm_text nm_test_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file)
        give_up("cannot be read", path);
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
        give_up("no JSON", "a text");
    return value;
}

// Host-side stand-ins for what the generated code imports.

enum { REMEMBERED = 1000 };
static stateful_transformer_list_string_t lines;
static size_t lines_capacity;

void __wasm_import_nephometer_metering_log_write(int32_t level, uint8_t *message, size_t len) {
    static const char *const levels[] = {"trace", "debug", "info", "warn", "error"};
    if (lines.len == REMEMBERED)
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
        give_up("a text is missing", "a sample");
    return nm_text_of(otherwise);
}

static uint8_t type_of(nm_text name) {
    if (nm_text_is(name, "gauge"))
        return NM_GAUGE;
    if (!nm_text_is(name, "delta") && !nm_text_is(name, "cumulative"))
        give_up("a type has to be gauge, delta or cumulative", "a sample");
    return nm_text_is(name, "delta") ? NM_DELTA : NM_CUMULATIVE;
}

static stateful_transformer_option_string_t maybe(const nm_json *value) {
    if (!value || value->kind != NM_TEXT)
        return (stateful_transformer_option_string_t){0};
    return (stateful_transformer_option_string_t){true, value->text};
}

static uint32_t meter_number(nm_answer_builder *builder, const nm_json *sample,
                             const nm_json *defaults) {
    nm_meter meter = {
        text_of(field(sample, defaults, "name"), NULL),
        text_of(field(sample, defaults, "unit"), NULL),
        type_of(text_of(field(sample, defaults, "type"), NULL)),
    };
    return nm_answer_meter(builder, &meter);
}

static uint32_t resource_number(nm_answer_builder *builder, const nm_json *sample,
                                const nm_json *defaults) {
    nm_writer metadata = {0};
    const nm_json *value = field(sample, defaults, "resource_metadata");
    if (value)
        nm_json_write(&metadata, value);
    nm_resource resource = {
        .id = text_of(field(sample, defaults, "resource_id"), NULL),
        .source = text_of(field(sample, defaults, "source"), "openstack"),
        .project_id = maybe(field(sample, defaults, "project_id")),
        .user_id = maybe(field(sample, defaults, "user_id")),
        .metadata = nm_written(&metadata),
    };
    uint32_t number = nm_answer_resource(builder, &resource);
    stateful_transformer_string_free(&resource.metadata);
    return number;
}

nm_batch nm_test_batch(const nm_json *samples, const nm_json *defaults) {
    // An answer to nothing has the dictionary and the columns of a batch.
    nm_answer_builder builder = nm_answer_to(NULL);
    for (size_t number = 0; number < samples->len; number++) {
        const nm_json *sample = &samples->items[number];
        const nm_json *volume = field(sample, defaults, "volume");
        nm_text timestamp = text_of(field(sample, defaults, "timestamp"), NULL);
        uint64_t time;
        if (!volume || !nm_test_nanoseconds(timestamp, &time))
            give_up("there is no volume, or no time", "a sample");
        uint32_t meter = meter_number(&builder, sample, defaults);
        uint32_t resource = resource_number(&builder, sample, defaults);
        nm_answer_create(&builder, meter, resource, time, volume->number);
    }
    nm_answer answer = nm_answer_finish(&builder);
    stateful_transformer_list_u32_free(&answer.origin);
    nm_batch batch = {
        .meters = {answer.meters.ptr, answer.meters.len},
        .resources = {answer.resources.ptr, answer.resources.len},
        .meter = answer.meter,
        .resource = answer.resource,
        .time = {answer.time.ptr, answer.time.len},
        .volume = answer.volume,
    };
    if (samples->len) {
        batch.monotonic = (stateful_transformer_list_u64_t){
            nm_resize(NULL, samples->len, sizeof(uint64_t)), samples->len};
        memset(batch.monotonic.ptr, 0, samples->len * sizeof(uint64_t));
    }
    return batch;
}

static void *copied(const void *items, size_t len, size_t size) {
    return len ? memcpy(nm_resize(NULL, len, size), items, len * size) : NULL;
}

// A copy, as the transformer frees what it is given.
static nm_batch batch_copy(const nm_batch *batch) {
    nm_batch copy = *batch;
    copy.meters.ptr = copied(batch->meters.ptr, batch->meters.len, sizeof(nm_meter));
    for (size_t number = 0; number < copy.meters.len; number++) {
        nm_meter *meter = &copy.meters.ptr[number];
        meter->name = nm_text_copy(meter->name);
        meter->unit = nm_text_copy(meter->unit);
    }
    copy.resources.ptr = copied(batch->resources.ptr, batch->resources.len, sizeof(nm_resource));
    for (size_t number = 0; number < copy.resources.len; number++) {
        nm_resource *resource = &copy.resources.ptr[number];
        resource->id = nm_text_copy(resource->id);
        resource->source = nm_text_copy(resource->source);
        if (resource->project_id.is_some)
            resource->project_id.val = nm_text_copy(resource->project_id.val);
        if (resource->user_id.is_some)
            resource->user_id.val = nm_text_copy(resource->user_id.val);
        resource->metadata = nm_text_copy(resource->metadata);
    }
    copy.meter.ptr = copied(batch->meter.ptr, batch->meter.len, sizeof(uint32_t));
    copy.resource.ptr = copied(batch->resource.ptr, batch->resource.len, sizeof(uint32_t));
    copy.time.ptr = copied(batch->time.ptr, batch->time.len, sizeof(uint64_t));
    copy.monotonic.ptr = copied(batch->monotonic.ptr, batch->monotonic.len, sizeof(uint64_t));
    copy.volume.ptr = copied(batch->volume.ptr, batch->volume.len, sizeof(double));
    copy.gone.ptr = copied(batch->gone.ptr, batch->gone.len, sizeof(nm_text));
    for (size_t number = 0; number < copy.gone.len; number++)
        copy.gone.ptr[number] = nm_text_copy(copy.gone.ptr[number]);
    return copy;
}

bool nm_test_configure(nm_text options, nm_option_errors *errors) {
    exports_nephometer_metering_component_settings_t settings;
    *errors = (nm_option_errors){NULL, 0};
    if (!exports_nephometer_metering_component_configure(&options, &settings, errors))
        return false;
    exports_nephometer_metering_component_settings_free(&settings);
    return true;
}

static void add_input(nm_samples *samples, uint32_t row) {
    const nm_batch *batch = &samples->batch;
    if (!NM_CHECK(row < batch->volume.len, "row %u is not in the batch", (unsigned)row))
        return;
    samples->all[samples->len++] = (nm_sample){
        &batch->meters.ptr[batch->meter.ptr[row]],
        &batch->resources.ptr[batch->resource.ptr[row]],
        batch->time.ptr[row],
        batch->volume.ptr[row],
        row,
    };
}

static void add_answer(nm_samples *samples, const nm_answer *answer) {
    const nm_batch *batch = &samples->batch;
    size_t rows = answer->volume.len;
    bool even = answer->origin.len == rows && answer->meter.len == rows &&
                answer->resource.len == rows && answer->time.len == rows;
    if (!NM_CHECK(even, "columns of unequal length"))
        return;
    samples->all = nm_resize(NULL, rows, sizeof *samples->all);
    for (size_t row = 0; row < rows; row++) {
        size_t meter = answer->meter.ptr[row], resource = answer->resource.ptr[row];
        bool there = meter < batch->meters.len + answer->meters.len &&
                     resource < batch->resources.len + answer->resources.len;
        if (!NM_CHECK(there, "an index of row %zu is out of range", row))
            continue;
        samples->all[samples->len++] = (nm_sample){
            meter < batch->meters.len ? &batch->meters.ptr[meter]
                                      : &answer->meters.ptr[meter - batch->meters.len],
            resource < batch->resources.len
                ? &batch->resources.ptr[resource]
                : &answer->resources.ptr[resource - batch->resources.len],
            answer->time.ptr[row],
            answer->volume.ptr[row],
            answer->origin.ptr[row],
        };
    }
}

bool nm_test_transform(nm_batch batch, nm_samples *samples, nm_refusal *refusal) {
    *samples = (nm_samples){.batch = batch};
    nm_batch input = batch_copy(&batch);
    nm_outcome *outcome = &samples->outcome;
    if (!exports_nephometer_metering_transform_transform(&input, outcome, refusal)) {
        outcome->tag = EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_UNCHANGED;
        nm_samples_free(samples);
        return false;
    }
    if (outcome->tag == EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_REPLACE) {
        add_answer(samples, &outcome->val.replace);
        return true;
    }
    bool keep = outcome->tag == EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_KEEP;
    size_t rows = keep ? outcome->val.keep.len : batch.volume.len;
    samples->all = nm_resize(NULL, rows, sizeof *samples->all);
    for (size_t row = 0; row < rows; row++)
        add_input(samples, keep ? outcome->val.keep.ptr[row] : (uint32_t)row);
    return true;
}

bool nm_test_flush(uint64_t now, nm_samples *samples, nm_refusal *refusal) {
    *samples = (nm_samples){0};
    nm_maybe_answer answer;
    if (!exports_nephometer_metering_stateful_flush(now, &answer, refusal))
        return false;
    if (answer.is_some) {
        samples->outcome.tag = EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_REPLACE;
        samples->outcome.val.replace = answer.val;
        add_answer(samples, &answer.val);
    }
    return true;
}

void nm_samples_free(nm_samples *samples) {
    free(samples->all);
    exports_nephometer_metering_transform_outcome_free(&samples->outcome);
    nephometer_metering_types_batch_free(&samples->batch);
    *samples = (nm_samples){0};
}
