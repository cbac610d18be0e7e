// The transformer's own meters and resources.
//
// They are numbered by content and sent to the host once, with the first answer after they were
// created. A dropped answer sends nothing: its new entries are sent with the next one.

#include <stdlib.h>

#include "entries.h"

// The first of the transformer's own numbers.
static const uint32_t FIRST = UINT32_C(0x80000000);

// Numbering starts again beyond these limits, well below those of the contract: 10,000 meters,
// 50,000 resources, 64 MiB.
enum { MAX_METERS = 8000, MAX_RESOURCES = 25000, MAX_TEXT = 16 << 20 };

typedef stateful_transformer_option_string_t optional_text;

static struct {
    nm_meter *all;
    size_t len;
    size_t capacity;
    size_t sent; // the number of entries that the host has
    nm_index index;
} meters;

static struct {
    nm_resource *all;
    size_t len;
    size_t capacity;
    size_t sent;
    nm_index index;
} resources;

static size_t text_len; // of all entries, in bytes

static nm_meter meter_copy(const nm_meter *meter) {
    return (nm_meter){nm_text_copy(meter->name), nm_text_copy(meter->unit), meter->type};
}

static optional_text optional_copy(const optional_text *text) {
    return text->is_some ? (optional_text){true, nm_text_copy(text->val)} : (optional_text){0};
}

static nm_resource resource_copy(const nm_resource *resource) {
    return (nm_resource){
        .id = nm_text_copy(resource->id),
        .source = nm_text_copy(resource->source),
        .project_id = optional_copy(&resource->project_id),
        .user_id = optional_copy(&resource->user_id),
        .metadata = nm_text_copy(resource->metadata),
    };
}

static size_t optional_len(const optional_text *text) {
    return text->is_some ? text->val.len : 0;
}

static uint64_t meter_hash(const nm_meter *meter) {
    return nm_text_hash(meter->unit, nm_text_hash(meter->name, meter->type));
}

static uint64_t optional_hash(const optional_text *text, uint64_t before) {
    return text->is_some ? nm_text_hash(text->val, before) : before + 1;
}

static uint64_t resource_hash(const nm_resource *resource) {
    uint64_t hash = nm_text_hash(resource->source, nm_text_hash(resource->id, 0));
    hash = optional_hash(&resource->user_id, optional_hash(&resource->project_id, hash));
    return nm_text_hash(resource->metadata, hash);
}

void nm_own_begin(void) {
    if (meters.len > MAX_METERS || resources.len > MAX_RESOURCES || text_len > MAX_TEXT)
        nm_own_clear();
}

void nm_own_clear(void) {
    for (size_t at = 0; at < meters.len; at++)
        nephometer_metering_types_meter_free(&meters.all[at]);
    for (size_t at = 0; at < resources.len; at++)
        nephometer_metering_types_resource_free(&resources.all[at]);
    nm_index_free(&meters.index);
    nm_index_free(&resources.index);
    meters.len = meters.sent = resources.len = resources.sent = text_len = 0;
}

uint32_t nm_own_meter(const nm_meter *meter) {
    uint64_t hash = meter_hash(meter);
    nm_search search = nm_index_search(&meters.index, hash);
    while (nm_search_next(&search))
        if (nm_meter_equal(meter, &meters.all[search.number]))
            return FIRST + search.number;
    uint32_t number = (uint32_t)meters.len;
    meters.all = nm_reserve(meters.all, meters.len, &meters.capacity, sizeof *meters.all);
    meters.all[meters.len++] = meter_copy(meter);
    text_len += meter->name.len + meter->unit.len;
    nm_index_add(&meters.index, hash, number);
    return FIRST + number;
}

uint32_t nm_own_resource(const nm_resource *resource) {
    nm_resource wanted = *resource;
    if (wanted.metadata.len == 0)
        wanted.metadata = nm_text_of("{}");
    uint64_t hash = resource_hash(&wanted);
    nm_search search = nm_index_search(&resources.index, hash);
    while (nm_search_next(&search))
        if (nm_resource_equal(&wanted, &resources.all[search.number]))
            return FIRST + search.number;
    uint32_t number = (uint32_t)resources.len;
    resources.all =
        nm_reserve(resources.all, resources.len, &resources.capacity, sizeof *resources.all);
    resources.all[resources.len++] = resource_copy(&wanted);
    text_len += wanted.id.len + wanted.source.len + optional_len(&wanted.project_id) +
                optional_len(&wanted.user_id) + wanted.metadata.len;
    nm_index_add(&resources.index, hash, number);
    return FIRST + number;
}

exports_nephometer_metering_transform_list_numbered_meter_t nm_own_send_meters(void) {
    exports_nephometer_metering_transform_list_numbered_meter_t list = {NULL, 0};
    size_t fresh = meters.len - meters.sent;
    if (fresh)
        list.ptr = nm_resize(NULL, fresh, sizeof *list.ptr);
    for (; meters.sent < meters.len; meters.sent++) {
        list.ptr[list.len].number = FIRST + (uint32_t)meters.sent;
        list.ptr[list.len++].entry = meter_copy(&meters.all[meters.sent]);
    }
    return list;
}

exports_nephometer_metering_transform_list_numbered_resource_t nm_own_send_resources(void) {
    exports_nephometer_metering_transform_list_numbered_resource_t list = {NULL, 0};
    size_t fresh = resources.len - resources.sent;
    if (fresh)
        list.ptr = nm_resize(NULL, fresh, sizeof *list.ptr);
    for (; resources.sent < resources.len; resources.sent++) {
        list.ptr[list.len].number = FIRST + (uint32_t)resources.sent;
        list.ptr[list.len++].entry = resource_copy(&resources.all[resources.sent]);
    }
    return list;
}
