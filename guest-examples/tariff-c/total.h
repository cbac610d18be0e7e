// Sums of costs by project, and how they are saved.

#ifndef TOTAL_H
#define TOTAL_H

#include "nephometer.h"

// A sum that does not lose what is small beside it (Neumaier's): `rest` is what rounding left out.
typedef struct total {
    nm_text project;
    nm_text source; // of the first sample
    double sum;
    double rest;
} total;

// Adds a cost, which is not negative.
void total_add(total *total, double cost);
double total_value(const total *total);

typedef struct totals {
    total *all;
    size_t len;
    size_t capacity;
    nm_index index;
} totals;

// The total of a project; a new one begins at 0.
total *totals_of(totals *totals, nm_text project, nm_text source);
// All of them by project, to be freed.
const total **totals_sorted(const totals *totals);
void totals_free(totals *totals);

// The state, in every language: project, source, sum and rest.
void totals_write(const totals *totals, nm_text currency, nm_writer *state);
// False if it is damaged. What is read has to be freed.
bool totals_read(nm_text state, nm_text *currency, totals *totals);

#endif
