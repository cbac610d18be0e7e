// Answers: the rows that take the place of the input's.

#include <stdlib.h>

#include "nephometer.h"

bool nm_resource_metadata(const nm_resource *resource, nm_json *metadata) {
    return nm_json_read(resource->metadata, metadata);
}

bool nm_meter_equal(const nm_meter *one, const nm_meter *other) {
    return one->type == other->type && nm_text_equal(one->name, other->name) &&
           nm_text_equal(one->unit, other->unit);
}

typedef stateful_transformer_option_string_t maybe_text;

static bool maybe_equal(const maybe_text *one, const maybe_text *other) {
    return one->is_some == other->is_some && (!one->is_some || nm_text_equal(one->val, other->val));
}

static nm_text metadata_text(nm_text text) {
    return text.len ? text : nm_text_of("{}");
}

static bool metadata_equal(nm_text one, nm_text other) {
    one = metadata_text(one);
    other = metadata_text(other);
    if (nm_text_equal(one, other))
        return true;
    nm_json value, same;
    if (!nm_json_read(one, &value))
        return false;
    bool equal = nm_json_read(other, &same) && nm_json_equal(&value, &same);
    nm_json_free(&value);
    nm_json_free(&same);
    return equal;
}

bool nm_resource_equal(const nm_resource *one, const nm_resource *other) {
    return nm_text_equal(one->id, other->id) && nm_text_equal(one->source, other->source) &&
           maybe_equal(&one->project_id, &other->project_id) &&
           maybe_equal(&one->user_id, &other->user_id) &&
           metadata_equal(one->metadata, other->metadata);
}

static uint64_t meter_hash(const nm_meter *meter) {
    return nm_text_hash(meter->unit, nm_text_hash(meter->name, meter->type));
}

static uint64_t maybe_hash(const maybe_text *text, uint64_t before) {
    return text->is_some ? nm_text_hash(text->val, before) : before + 1;
}

// By what tells most of them apart; equality looks at the metadata too.
static uint64_t resource_hash(const nm_resource *resource) {
    uint64_t hash = nm_text_hash(resource->source, nm_text_hash(resource->id, 0));
    return maybe_hash(&resource->user_id, maybe_hash(&resource->project_id, hash));
}

static size_t given_meters(const nm_answer_builder *builder) {
    return builder->batch ? builder->batch->meters.len : 0;
}

static size_t given_resources(const nm_answer_builder *builder) {
    return builder->batch ? builder->batch->resources.len : 0;
}

nm_answer_builder nm_answer_to(const nm_batch *batch) {
    return (nm_answer_builder){.batch = batch};
}

static bool find_meter(const nm_answer_builder *builder, uint64_t hash, const nm_meter *meter,
                       uint32_t *number) {
    size_t given = given_meters(builder);
    nm_search search = nm_index_search(&builder->meters, hash);
    while (nm_search_next(&search)) {
        *number = search.number;
        const nm_meter *same = *number < given ? &builder->batch->meters.ptr[*number]
                                               : &builder->answer.meters.ptr[*number - given];
        if (nm_meter_equal(meter, same))
            return true;
    }
    return false;
}

static void know_meters(nm_answer_builder *builder) {
    for (size_t given = 0; given < given_meters(builder); given++) {
        const nm_meter *meter = &builder->batch->meters.ptr[given];
        uint64_t hash = meter_hash(meter);
        // The first of equal entries has the say.
        uint32_t number;
        if (!find_meter(builder, hash, meter, &number))
            nm_index_add(&builder->meters, hash, (uint32_t)given);
    }
    builder->meters_known = true;
}

uint32_t nm_answer_meter(nm_answer_builder *builder, const nm_meter *meter) {
    if (!builder->meters_known)
        know_meters(builder);
    uint64_t hash = meter_hash(meter);
    uint32_t number;
    if (find_meter(builder, hash, meter, &number))
        return number;
    exports_nephometer_metering_transform_list_meter_t *new = &builder->answer.meters;
    new->ptr = nm_reserve(new->ptr, new->len, &builder->meters_capacity, sizeof *new->ptr);
    number = (uint32_t)(given_meters(builder) + new->len);
    new->ptr[new->len++] =
        (nm_meter){nm_text_copy(meter->name), nm_text_copy(meter->unit), meter->type};
    nm_index_add(&builder->meters, hash, number);
    return number;
}

static bool find_resource(const nm_answer_builder *builder, uint64_t hash,
                          const nm_resource *resource, uint32_t *number) {
    size_t given = given_resources(builder);
    nm_search search = nm_index_search(&builder->resources, hash);
    while (nm_search_next(&search)) {
        *number = search.number;
        const nm_resource *same = *number < given
                                      ? &builder->batch->resources.ptr[*number]
                                      : &builder->answer.resources.ptr[*number - given];
        if (nm_resource_equal(resource, same))
            return true;
    }
    return false;
}

static void know_resources(nm_answer_builder *builder) {
    for (size_t given = 0; given < given_resources(builder); given++) {
        const nm_resource *resource = &builder->batch->resources.ptr[given];
        uint64_t hash = resource_hash(resource);
        uint32_t number;
        if (!find_resource(builder, hash, resource, &number))
            nm_index_add(&builder->resources, hash, (uint32_t)given);
    }
    builder->resources_known = true;
}

static maybe_text maybe_copy(const maybe_text *text) {
    return text->is_some ? (maybe_text){true, nm_text_copy(text->val)} : (maybe_text){0};
}

uint32_t nm_answer_resource(nm_answer_builder *builder, const nm_resource *resource) {
    if (!builder->resources_known)
        know_resources(builder);
    uint64_t hash = resource_hash(resource);
    uint32_t number;
    if (find_resource(builder, hash, resource, &number))
        return number;
    exports_nephometer_metering_transform_list_resource_t *new = &builder->answer.resources;
    new->ptr = nm_reserve(new->ptr, new->len, &builder->resources_capacity, sizeof *new->ptr);
    number = (uint32_t)(given_resources(builder) + new->len);
    new->ptr[new->len++] = (nm_resource){
        .id = nm_text_copy(resource->id),
        .source = nm_text_copy(resource->source),
        .project_id = maybe_copy(&resource->project_id),
        .user_id = maybe_copy(&resource->user_id),
        .metadata = nm_text_copy(metadata_text(resource->metadata)),
    };
    nm_index_add(&builder->resources, hash, number);
    return number;
}

static void more_rows(nm_answer_builder *builder) {
    nm_answer *answer = &builder->answer;
    // Most answers have as many rows as the input.
    size_t expected = builder->batch ? builder->batch->volume.len : 0;
    size_t twice = builder->rows_capacity ? builder->rows_capacity * 2 : 8;
    size_t rows = twice > expected ? twice : expected;
    answer->origin.ptr = nm_resize(answer->origin.ptr, rows, sizeof *answer->origin.ptr);
    answer->meter.ptr = nm_resize(answer->meter.ptr, rows, sizeof *answer->meter.ptr);
    answer->resource.ptr = nm_resize(answer->resource.ptr, rows, sizeof *answer->resource.ptr);
    answer->time.ptr = nm_resize(answer->time.ptr, rows, sizeof *answer->time.ptr);
    answer->volume.ptr = nm_resize(answer->volume.ptr, rows, sizeof *answer->volume.ptr);
    builder->rows_capacity = rows;
}

static void add(nm_answer_builder *builder, uint32_t origin, uint32_t meter, uint32_t resource,
                uint64_t time, double volume) {
    nm_answer *answer = &builder->answer;
    if (answer->volume.len == builder->rows_capacity)
        more_rows(builder);
    answer->origin.ptr[answer->origin.len++] = origin;
    answer->meter.ptr[answer->meter.len++] = meter;
    answer->resource.ptr[answer->resource.len++] = resource;
    answer->time.ptr[answer->time.len++] = time;
    answer->volume.ptr[answer->volume.len++] = volume;
}

void nm_answer_keep(nm_answer_builder *builder, const nm_row *row) {
    add(builder, row->number, row->meter_index, row->resource_index, row->time, row->volume);
}

void nm_answer_derive(nm_answer_builder *builder, const nm_row *row, uint32_t meter,
                      double volume) {
    add(builder, row->number, meter, row->resource_index, row->time, volume);
}

void nm_answer_create(nm_answer_builder *builder, uint32_t meter, uint32_t resource, uint64_t time,
                      double volume) {
    add(builder, NM_NO_ORIGIN, meter, resource, time, volume);
}

nm_answer nm_answer_finish(nm_answer_builder *builder) {
    nm_answer answer = builder->answer;
    nm_index_free(&builder->meters);
    nm_index_free(&builder->resources);
    *builder = nm_answer_to(builder->batch);
    return answer;
}

void nm_answer_drop(nm_answer_builder *builder) {
    nm_answer answer = nm_answer_finish(builder);
    exports_nephometer_metering_transform_answer_free(&answer);
}
