// A hash table with open addressing, at most half full.

#include <stdlib.h>

#include "nephometer.h"

nm_search nm_index_search(const nm_index *index, uint64_t hash) {
    return (nm_search){index, hash, (size_t)hash, 0};
}

bool nm_search_next(nm_search *search) {
    const nm_index *index = search->index;
    if (index->capacity == 0)
        return false;
    for (;;) {
        const nm_slot *slot = &index->slots[search->position & (index->capacity - 1)];
        if (slot->number == UINT32_MAX)
            return false;
        search->position++;
        if (slot->hash == search->hash) {
            search->number = slot->number;
            return true;
        }
    }
}

static void insert(nm_index *index, nm_slot slot) {
    size_t position = (size_t)slot.hash & (index->capacity - 1);
    while (index->slots[position].number != UINT32_MAX)
        position = (position + 1) & (index->capacity - 1);
    index->slots[position] = slot;
}

static void grow(nm_index *index) {
    nm_index larger = {.capacity = index->capacity ? index->capacity * 2 : 16, .len = index->len};
    larger.slots = nm_resize(NULL, larger.capacity, sizeof *larger.slots);
    for (size_t position = 0; position < larger.capacity; position++)
        larger.slots[position].number = UINT32_MAX;
    for (size_t position = 0; position < index->capacity; position++)
        if (index->slots[position].number != UINT32_MAX)
            insert(&larger, index->slots[position]);
    free(index->slots);
    *index = larger;
}

void nm_index_add(nm_index *index, uint64_t hash, uint32_t number) {
    if (index->len >= index->capacity / 2)
        grow(index);
    insert(index, (nm_slot){hash, number});
    index->len++;
}

void nm_index_free(nm_index *index) {
    free(index->slots);
    *index = (nm_index){0};
}
