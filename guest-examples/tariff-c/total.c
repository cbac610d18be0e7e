#include "total.h"

#include <stdlib.h>

void total_add(total *total, double cost) {
    double sum = total->sum + cost;
    bool larger = total->sum >= cost;
    double large = larger ? total->sum : cost, small = larger ? cost : total->sum;
    total->rest += (large - sum) + small;
    total->sum = sum;
}

double total_value(const total *total) {
    return total->sum + total->rest;
}

total *totals_of(totals *totals, nm_text project, nm_text source) {
    uint64_t hash = nm_text_hash(project, 0);
    nm_search search = nm_index_search(&totals->index, hash);
    while (nm_search_next(&search))
        if (nm_text_equal(totals->all[search.number].project, project))
            return &totals->all[search.number];
    totals->all = nm_reserve(totals->all, totals->len, &totals->capacity, sizeof *totals->all);
    nm_index_add(&totals->index, hash, (uint32_t)totals->len);
    total *new = &totals->all[totals->len++];
    *new = (total){nm_text_copy(project), nm_text_copy(source), 0, 0};
    return new;
}

static int by_project(const void *one, const void *other) {
    const total *const *first = one, *const *second = other;
    return nm_text_order((*first)->project, (*second)->project);
}

const total **totals_sorted(const totals *totals) {
    const total **sorted = nm_resize(NULL, totals->len, sizeof *sorted);
    for (size_t number = 0; number < totals->len; number++)
        sorted[number] = &totals->all[number];
    qsort(sorted, totals->len, sizeof *sorted, by_project);
    return sorted;
}

void totals_free(totals *totals) {
    for (size_t number = 0; number < totals->len; number++) {
        stateful_transformer_string_free(&totals->all[number].project);
        stateful_transformer_string_free(&totals->all[number].source);
    }
    free(totals->all);
    nm_index_free(&totals->index);
    *totals = (struct totals){0};
}

void totals_write(const totals *totals, nm_text currency, nm_writer *state) {
    nm_write(state, "{\"currency\":");
    nm_json_write_text(state, currency);
    nm_write(state, ",\"totals\":[");
    const total **sorted = totals_sorted(totals);
    for (size_t number = 0; number < totals->len; number++) {
        nm_write(state, number ? ",[" : "[");
        nm_json_write_text(state, sorted[number]->project);
        nm_write(state, ",");
        nm_json_write_text(state, sorted[number]->source);
        nm_write(state, ",");
        nm_json_write_number(state, sorted[number]->sum);
        nm_write(state, ",");
        nm_json_write_number(state, sorted[number]->rest);
        nm_write(state, "]");
    }
    free(sorted);
    nm_write(state, "]}");
}

static bool read_total(const nm_json *saved, totals *totals) {
    static const nm_kind kinds[] = {NM_TEXT, NM_TEXT, NM_NUMBER, NM_NUMBER};
    enum { FIELDS = sizeof kinds / sizeof *kinds };
    if (saved->kind != NM_LIST || saved->len != FIELDS)
        return false;
    const nm_json *fields = saved->items;
    for (size_t number = 0; number < FIELDS; number++)
        if (fields[number].kind != kinds[number])
            return false;
    total *read = totals_of(totals, fields[0].text, fields[1].text);
    read->sum = fields[2].number;
    read->rest = fields[3].number;
    return true;
}

static bool read_state(const nm_json *state, nm_text *currency, totals *totals) {
    const nm_json *money = nm_json_get(state, "currency");
    const nm_json *saved = nm_json_get(state, "totals");
    if (!money || money->kind != NM_TEXT || !saved || saved->kind != NM_LIST)
        return false;
    *currency = nm_text_copy(money->text);
    for (size_t number = 0; number < saved->len; number++)
        if (!read_total(&saved->items[number], totals))
            return false;
    return true;
}

bool totals_read(nm_text state, nm_text *currency, totals *totals) {
    *currency = (nm_text){NULL, 0};
    *totals = (struct totals){0};
    nm_json value;
    bool read = nm_json_read(state, &value) && read_state(&value, currency, totals);
    nm_json_free(&value);
    return read;
}
