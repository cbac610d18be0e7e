// Builds answers: the rows that replace those of the input.
//
// While all rows are computed from input rows, in order, an answer has no columns for resource and
// time: the host takes them from the origins.

#include <stdlib.h>
#include <string.h>

#include "entries.h"

typedef stateful_transformer_option_string_t optional_text;

bool nm_resource_metadata(const nm_resource *resource, nm_json *metadata) {
    return nm_json_read(resource->metadata, metadata);
}

bool nm_meter_equal(const nm_meter *one, const nm_meter *other) {
    return one->type == other->type && nm_text_equal(one->name, other->name) &&
           nm_text_equal(one->unit, other->unit);
}

static bool optional_equal(const optional_text *one, const optional_text *other) {
    return one->is_some == other->is_some && (!one->is_some || nm_text_equal(one->val, other->val));
}

bool nm_resource_equal(const nm_resource *one, const nm_resource *other) {
    return nm_text_equal(one->id, other->id) && nm_text_equal(one->source, other->source) &&
           optional_equal(&one->project_id, &other->project_id) &&
           optional_equal(&one->user_id, &other->user_id) &&
           nm_text_equal(one->metadata, other->metadata);
}

nm_answer_builder nm_answer_to(const nm_batch *batch) {
    // Rows of a flush have no origin.
    return (nm_answer_builder){.batch = batch, .placed = !batch};
}

uint32_t nm_answer_meter(nm_answer_builder *builder, const nm_meter *meter) {
    // Entries belong to the instance. The parameter shows that the number is valid for this answer.
    (void)builder;
    return nm_own_meter(meter);
}

uint32_t nm_answer_resource(nm_answer_builder *builder, const nm_resource *resource) {
    (void)builder;
    return nm_own_resource(resource);
}

static void resize_resource_and_time(nm_answer_builder *builder) {
    nm_answer *answer = &builder->answer;
    size_t rows = builder->rows_capacity;
    answer->resource.ptr = nm_resize(answer->resource.ptr, rows, sizeof *answer->resource.ptr);
    answer->time.ptr = nm_resize(answer->time.ptr, rows, sizeof *answer->time.ptr);
}

static void more_rows(nm_answer_builder *builder) {
    nm_answer *answer = &builder->answer;
    // Most answers have as many rows as the input.
    size_t expected = builder->batch ? builder->batch->volume.len : 0;
    size_t twice = builder->rows_capacity ? builder->rows_capacity * 2 : 8;
    size_t rows = twice > expected ? twice : expected;
    answer->origin.ptr = nm_resize(answer->origin.ptr, rows, sizeof *answer->origin.ptr);
    answer->meter.ptr = nm_resize(answer->meter.ptr, rows, sizeof *answer->meter.ptr);
    answer->volume.ptr = nm_resize(answer->volume.ptr, rows, sizeof *answer->volume.ptr);
    builder->rows_capacity = rows;
    if (builder->placed)
        resize_resource_and_time(builder);
}

// Adds the columns for resource and time, and fills them from the origins of the rows so far.
static void add_resource_and_time(nm_answer_builder *builder) {
    nm_answer *answer = &builder->answer;
    builder->placed = true;
    if (answer->origin.len == 0)
        return;
    resize_resource_and_time(builder);
    for (size_t row = 0; row < answer->origin.len; row++) {
        uint32_t origin = answer->origin.ptr[row];
        answer->resource.ptr[row] = builder->batch->resource.ptr[origin];
        answer->time.ptr[row] = builder->batch->time.ptr[origin];
    }
    answer->resource.len = answer->time.len = answer->origin.len;
}

static void add(nm_answer_builder *builder, uint32_t origin, uint32_t meter, uint32_t resource,
                uint64_t time, double volume) {
    nm_answer *answer = &builder->answer;
    if (answer->origin.len == builder->rows_capacity)
        more_rows(builder);
    answer->origin.ptr[answer->origin.len++] = origin;
    answer->meter.ptr[answer->meter.len++] = meter;
    answer->volume.ptr[answer->volume.len++] = volume;
    if (!builder->placed)
        return;
    answer->resource.ptr[answer->resource.len++] = resource;
    answer->time.ptr[answer->time.len++] = time;
}

// Stores the exact value of the last row, if a double cannot hold it.
static void add_exact(nm_answer_builder *builder, int64_t value) {
    if (value > -NM_EXACT && value < NM_EXACT)
        return;
    nm_answer *answer = &builder->answer;
    answer->exact.ptr = nm_reserve(answer->exact.ptr, answer->exact.len, &builder->exact_capacity,
                                   sizeof *answer->exact.ptr);
    answer->exact.ptr[answer->exact.len].row = (uint32_t)(answer->origin.len - 1);
    answer->exact.ptr[answer->exact.len++].value = value;
}

void nm_answer_keep(nm_answer_builder *builder, const nm_row *row) {
    nm_answer_derive(builder, row, row->meter_number, row->volume);
}

void nm_answer_derive(nm_answer_builder *builder, const nm_row *row, uint32_t meter,
                      double volume) {
    const nm_answer *answer = &builder->answer;
    size_t rows = answer->origin.len;
    if (!builder->placed && rows && row->number < answer->origin.ptr[rows - 1])
        add_resource_and_time(builder);
    add(builder, row->number, meter, row->resource_number, row->time, volume);
}

void nm_answer_derive_integer(nm_answer_builder *builder, const nm_row *row, uint32_t meter,
                              int64_t value) {
    nm_answer_derive(builder, row, meter, (double)value);
    add_exact(builder, value);
}

void nm_answer_create(nm_answer_builder *builder, uint32_t meter, uint32_t resource, uint64_t time,
                      double volume) {
    if (!builder->placed)
        add_resource_and_time(builder);
    add(builder, NM_NO_ORIGIN, meter, resource, time, volume);
}

void nm_answer_create_integer(nm_answer_builder *builder, uint32_t meter, uint32_t resource,
                              uint64_t time, int64_t value) {
    nm_answer_create(builder, meter, resource, time, (double)value);
    add_exact(builder, value);
}

static nm_answer finish(nm_answer_builder *builder) {
    nm_answer answer = builder->answer;
    *builder = nm_answer_to(builder->batch);
    return answer;
}

void nm_answer_drop(nm_answer_builder *builder) {
    nm_answer answer = finish(builder);
    exports_nephometer_metering_transform_answer_free(&answer);
}

void nm_replace(nm_outcome *outcome, nm_answer_builder *builder) {
    bool placed = builder->placed;
    nm_answer answer = finish(builder);
    if (placed) {
        outcome->tag = EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_REPLACE;
        outcome->val.replace = answer;
        return;
    }
    outcome->tag = EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_DERIVE;
    outcome->val.derive = (exports_nephometer_metering_transform_derived_t){
        .origin = answer.origin,
        .meter = answer.meter,
        .volume = answer.volume,
        .exact = answer.exact,
    };
}

void nm_keep(nm_outcome *outcome, const uint32_t *rows, size_t len) {
    outcome->tag = EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_KEEP;
    outcome->val.keep = (stateful_transformer_list_u32_t){NULL, len};
    if (len == 0)
        return;
    outcome->val.keep.ptr = nm_resize(NULL, len, sizeof *rows);
    memcpy(outcome->val.keep.ptr, rows, len * sizeof *rows);
}

void nm_give(nm_maybe_answer *answer, nm_answer_builder *builder) {
    answer->is_some = true;
    answer->val = finish(builder);
}
