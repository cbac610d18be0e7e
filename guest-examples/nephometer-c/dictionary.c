// The host's meters and resources by number, and caches of what transformers compute from them.
//
// The host sends an entry once and reuses its number after it was forgotten. Numbers are small, so
// they are array indexes. Each entry gets a unique serial, by which caches detect that a number
// stands for another entry.

#include <stdlib.h>
#include <string.h>

#include "entries.h"

nm_dictionary nm_host_entries;

static uint64_t last_serial;

// Enlarges an array to hold an item `number`; new items are zero.
static void *enlarge(void *array, uint32_t number, size_t *capacity, size_t size) {
    if (number < *capacity)
        return array;
    size_t wanted = (size_t)number + 1, twice = *capacity * 2, before = *capacity * size;
    *capacity = wanted > twice ? wanted : twice;
    uint8_t *enlarged = nm_resize(array, *capacity, size);
    memset(enlarged + before, 0, *capacity * size - before);
    return enlarged;
}

static void forget_meter(uint32_t number) {
    if (number >= nm_host_entries.meters_capacity)
        return;
    nm_known_meter *known = &nm_host_entries.meters[number];
    nephometer_metering_types_meter_free(&known->meter);
    *known = (nm_known_meter){0};
}

static void forget_resource(uint32_t number) {
    if (number >= nm_host_entries.resources_capacity)
        return;
    nm_known_resource *known = &nm_host_entries.resources[number];
    nephometer_metering_types_resource_free(&known->resource);
    *known = (nm_known_resource){0};
}

static void add_meter(const exports_nephometer_metering_dictionary_numbered_meter_t *new) {
    nm_dictionary *all = &nm_host_entries;
    all->meters = enlarge(all->meters, new->number, &all->meters_capacity, sizeof *all->meters);
    all->meters[new->number] = (nm_known_meter){new->entry, ++last_serial};
}

static void add_resource(const exports_nephometer_metering_dictionary_numbered_resource_t *new) {
    nm_dictionary *all = &nm_host_entries;
    all->resources =
        enlarge(all->resources, new->number, &all->resources_capacity, sizeof *all->resources);
    all->resources[new->number] = (nm_known_resource){new->entry, ++last_serial};
}

void nm_dictionary_change(exports_nephometer_metering_dictionary_changes_t *changes) {
    for (size_t at = 0; at < changes->forgotten_meters.len; at++)
        forget_meter(changes->forgotten_meters.ptr[at]);
    for (size_t at = 0; at < changes->forgotten_resources.len; at++)
        forget_resource(changes->forgotten_resources.ptr[at]);
    for (size_t at = 0; at < changes->meters.len; at++)
        add_meter(&changes->meters.ptr[at]);
    for (size_t at = 0; at < changes->resources.len; at++)
        add_resource(&changes->resources.ptr[at]);
    // Keeps the texts of new entries and frees the lists. An empty list has no memory.
    if (changes->meters.len)
        free(changes->meters.ptr);
    if (changes->resources.len)
        free(changes->resources.ptr);
    changes->meters.len = changes->resources.len = 0;
    exports_nephometer_metering_dictionary_changes_free(changes);
}

void nm_dictionary_clear(void) {
    for (size_t number = 0; number < nm_host_entries.meters_capacity; number++)
        forget_meter((uint32_t)number);
    for (size_t number = 0; number < nm_host_entries.resources_capacity; number++)
        forget_resource((uint32_t)number);
    free(nm_host_entries.meters);
    free(nm_host_entries.resources);
    nm_host_entries = (nm_dictionary){0};
}

void *nm_cache_renew(nm_cache *cache, uint32_t number, uint64_t serial) {
    size_t capacity = cache->capacity;
    cache->items = enlarge(cache->items, number, &capacity, cache->size);
    cache->serials = enlarge(cache->serials, number, &cache->capacity, sizeof *cache->serials);
    cache->serials[number] = serial;
    return memset(cache->items + number * cache->size, 0, cache->size);
}

void nm_cache_clear(nm_cache *cache) {
    free(cache->items);
    free(cache->serials);
    *cache = nm_cache_of(cache->size);
}
