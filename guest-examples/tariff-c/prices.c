#include "prices.h"

#include <math.h>
#include <stdlib.h>

static void read_band(const nm_options *band, day *day) {
    double from, to, price;
    bool from_there = nm_options_number(band, "from", &from);
    bool to_there = nm_options_number(band, "to", &to);
    bool price_there = nm_options_number(band, "price", &price);
    if (!from_there || !to_there || !price_there)
        return;
    if (!(from < to)) {
        nm_options_refuse_key(
            band, "to", "is not after from (%g); write a band over midnight as two",
            from);
        return;
    }
    // The schema ensures this.
    if (from < 0 || to > HOURS)
        return;
    for (int hour = (int)from; hour < (int)to; hour++) {
        if (!isnan(day->price[hour])) {
            nm_options_refuse_key(band, "from", "hour %d already has a price", hour);
            break;
        }
        day->price[hour] = price;
    }
}

static void check_day(const nm_options *bands, const day *day) {
    nm_writer missing = {0};
    for (int hour = 0; hour < HOURS; hour++)
        if (isnan(day->price[hour]))
            nm_print(&missing, "%s%d", missing.len ? ", " : "", hour);
    nm_text hours = nm_written(&missing);
    if (hours.len)
        nm_options_refuse(bands, "no price for hours %.*s", NM_PRINT(hours));
    stateful_transformer_string_free(&hours);
}

static void read_day(const nm_options *options, nm_text project, day *day) {
    for (int hour = 0; hour < HOURS; hour++)
        day->price[hour] = NAN;
    nm_options bands = nm_options_list(options, project);
    for (size_t number = 0; number < nm_options_len(&bands); number++) {
        nm_options band = nm_options_item(&bands, number);
        read_band(&band, day);
    }
    check_day(&bands, day);
}

prices prices_read(const nm_options *options) {
    prices read = {0};
    for (size_t number = 0; number < nm_options_len(options); number++) {
        nm_text project;
        if (!nm_options_key(options, number, &project))
            continue;
        read.days = nm_reserve(read.days, read.len, &read.capacity, sizeof *read.days);
        read_day(options, project, &read.days[read.len]);
        read.days[read.len].project = nm_text_copy(project);
        nm_index_add(&read.index, nm_text_hash(project, 0), (uint32_t)read.len++);
    }
    return read;
}

const day *prices_of(const prices *prices, nm_text project) {
    nm_search search = nm_index_search(&prices->index, nm_text_hash(project, 0));
    while (nm_search_next(&search))
        if (nm_text_equal(prices->days[search.number].project, project))
            return &prices->days[search.number];
    return NULL;
}

void prices_free(prices *prices) {
    for (size_t number = 0; number < prices->len; number++)
        stateful_transformer_string_free(&prices->days[number].project);
    free(prices->days);
    nm_index_free(&prices->index);
}
