// Converts bands of hours to a price for each hour of the day.

#ifndef PRICES_H
#define PRICES_H

#include "nephometer.h"

enum { HOURS = 24 };

typedef struct day {
    nm_text project;
    double price[HOURS]; // NAN where there is none
} day;

typedef struct prices {
    day *days; // one per project
    size_t len;
    size_t capacity;
    nm_index index;
} prices;

// Reads the prices. Errors are added to the options.
prices prices_read(const nm_options *options);
// The prices of a project, or NULL.
const day *prices_of(const prices *prices, nm_text project);
void prices_free(prices *prices);

#endif
