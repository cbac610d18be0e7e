// Totals of costs by project, and their saved form.

#ifndef TOTAL_H
#define TOTAL_H

#include "nephometer.h"

// A compensated sum (Neumaier): `rest` holds the rounding errors, so small costs are not lost.
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

// The state, in the format of all languages: project, source, sum and rest.
void totals_write(const totals *totals, nm_text currency, nm_writer *state);
// Reads a state; false if it is damaged. Free the result.
bool totals_read(nm_text state, nm_text *currency, totals *totals);

#endif
