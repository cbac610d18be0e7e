// Acts as the host: assigns numbers to the entries of batches, and receives the entries of answers.

#include "host.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t FIRST_OWN = UINT32_C(0x80000000);

typedef exports_nephometer_metering_dictionary_changes_t changes;
typedef exports_nephometer_metering_dictionary_numbered_meter_t numbered_meter;
typedef exports_nephometer_metering_dictionary_numbered_resource_t numbered_resource;

// Entries by number; NULL where a number is unused.
typedef struct table {
    void **all;
    size_t capacity;
} table;

// The entries of one kind.
typedef struct kind {
    table host;
    table own; // the component's, by number minus FIRST_OWN
    size_t own_len;
    uint32_t next;  // next new number of the host
    uint32_t *free; // forgotten numbers of the host
    size_t free_len;
    size_t free_capacity;
} kind;

static kind meters, resources;

// All entries so far. They are never freed, because samples refer to them.
static void **kept;
static size_t kept_len, kept_capacity;

static uint32_t instances;

static void *keep(const void *entry, size_t size) {
    kept = nm_reserve(kept, kept_len, &kept_capacity, sizeof *kept);
    return kept[kept_len++] = memcpy(nm_resize(NULL, 1, size), entry, size);
}

static nm_meter meter_copy(const nm_meter *meter) {
    return (nm_meter){nm_text_copy(meter->name), nm_text_copy(meter->unit), meter->type};
}

static stateful_transformer_option_string_t
optional_copy(stateful_transformer_option_string_t text) {
    if (text.is_some)
        text.val = nm_text_copy(text.val);
    return text;
}

static nm_resource resource_copy(const nm_resource *resource) {
    return (nm_resource){
        .id = nm_text_copy(resource->id),
        .source = nm_text_copy(resource->source),
        .project_id = optional_copy(resource->project_id),
        .user_id = optional_copy(resource->user_id),
        .metadata = nm_text_copy(resource->metadata),
    };
}

static void *keep_meter(const nm_meter *meter) {
    nm_meter copy = meter_copy(meter);
    return keep(&copy, sizeof copy);
}

static void *keep_resource(const nm_resource *resource) {
    nm_resource copy = resource_copy(resource);
    return keep(&copy, sizeof copy);
}

static void set(table *table, size_t number, void *entry) {
    size_t before = table->capacity;
    if (number >= before) {
        table->capacity = (number + 1) * 2;
        table->all = nm_resize(table->all, table->capacity, sizeof *table->all);
        memset(table->all + before, 0, (table->capacity - before) * sizeof *table->all);
    }
    table->all[number] = entry;
}

static void *get(const kind *kind, uint32_t number) {
    bool own = number >= FIRST_OWN;
    const table *table = own ? &kind->own : &kind->host;
    number -= own ? FIRST_OWN : 0;
    return number < table->capacity ? table->all[number] : NULL;
}

// Reuses forgotten numbers first. New ones are shuffled in blocks of 64, and differ between
// instances.
static uint32_t free_number(kind *kind) {
    if (kind->free_len)
        return kind->free[--kind->free_len];
    uint32_t number = kind->next++;
    return (number & ~63u) | ((number * 37 + instances * 11) & 63u);
}

uint32_t nm_test_meter_number(const nm_meter *meter) {
    for (size_t number = 0; number < meters.host.capacity; number++)
        if (meters.host.all[number] && nm_meter_equal(meters.host.all[number], meter))
            return (uint32_t)number;
    uint32_t number = free_number(&meters);
    set(&meters.host, number, keep_meter(meter));
    numbered_meter *new = nm_resize(NULL, 1, sizeof *new);
    *new = (numbered_meter){number, meter_copy(meter)};
    exports_nephometer_metering_dictionary_learn(&(changes){.meters = {new, 1}});
    return number;
}

uint32_t nm_test_resource_number(const nm_resource *resource) {
    for (size_t number = 0; number < resources.host.capacity; number++)
        if (resources.host.all[number] && nm_resource_equal(resources.host.all[number], resource))
            return (uint32_t)number;
    uint32_t number = free_number(&resources);
    set(&resources.host, number, keep_resource(resource));
    numbered_resource *new = nm_resize(NULL, 1, sizeof *new);
    *new = (numbered_resource){number, resource_copy(resource)};
    exports_nephometer_metering_dictionary_learn(&(changes){.resources = {new, 1}});
    return number;
}

const nm_meter *nm_test_meter(uint32_t number) {
    return get(&meters, number);
}

const nm_resource *nm_test_resource(uint32_t number) {
    return get(&resources, number);
}

static void receive(kind *kind, uint32_t number, void *entry) {
    size_t at = number - FIRST_OWN;
    if (!NM_CHECK(number >= FIRST_OWN && at <= kind->own_len, "new entry %#x leaves a gap",
                  (unsigned)number))
        return;
    set(&kind->own, at, entry);
    kind->own_len += at == kind->own_len;
}

void nm_test_take(const exports_nephometer_metering_transform_list_numbered_meter_t *new_meters,
                  const exports_nephometer_metering_transform_list_numbered_resource_t *new) {
    for (size_t at = 0; at < new_meters->len; at++)
        receive(&meters, new_meters->ptr[at].number, keep_meter(&new_meters->ptr[at].entry));
    for (size_t at = 0; new && at < new->len; at++)
        receive(&resources, new->ptr[at].number, keep_resource(&new->ptr[at].entry));
}

void nm_test_forget(nm_text id) {
    stateful_transformer_list_u32_t numbers = {NULL, 0};
    size_t capacity = 0;
    for (size_t number = 0; number < resources.host.capacity; number++) {
        const nm_resource *resource = resources.host.all[number];
        if (!resource || !nm_text_equal(resource->id, id))
            continue;
        resources.host.all[number] = NULL;
        resources.free = nm_reserve(resources.free, resources.free_len, &resources.free_capacity,
                                    sizeof *resources.free);
        resources.free[resources.free_len++] = (uint32_t)number;
        numbers.ptr = nm_reserve(numbers.ptr, numbers.len, &capacity, sizeof *numbers.ptr);
        numbers.ptr[numbers.len++] = (uint32_t)number;
    }
    exports_nephometer_metering_dictionary_learn(&(changes){.forgotten_resources = numbers});
}

static void empty(kind *kind) {
    free(kind->host.all);
    free(kind->own.all);
    free(kind->free);
    *kind = (struct kind){0};
}

void nm_test_new_instance(void) {
    empty(&meters);
    empty(&resources);
    instances++;
}
