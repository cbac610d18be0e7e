// `tariff`: the cost of processor time, by project and hour of the day.
//
// Every `cpu` sample of type delta becomes a gauge `cost`, priced by its project and the UTC hour
// of its time. A sample of a project without prices is dropped and logged; the host counts it as
// absorbed. All other samples pass. Each flush emits a `cost.total` per project, the sum of all its
// costs. The state is JSON, in the same format as in the other languages.

#include <math.h>
#include <stdlib.h>

#include "nephometer.h"
#include "prices.h"
#include "schema.h"
#include "total.h"

enum { STATE_VERSION = 1 };
static const uint64_t HOUR = UINT64_C(3600000000000); // nanoseconds

// The prices and the total of a resource, looked up with its first row.
typedef struct payer {
    bool known;
    const day *day;  // of its project; NULL without prices
    size_t total_at; // index of the project's total, from 1; 0 before the first cost
} payer;

typedef enum relevance { UNKNOWN, PRICED, PASSING } relevance;

typedef struct tariff {
    nm_text currency;
    prices prices;
    totals totals;
    nm_cache payers;     // by resource
    nm_cache relevances; // by meter
} tariff;

static void *make(const nm_options *options, nm_settings *settings) {
    static const char *const meters[] = {"cpu", NULL};
    settings->meters = meters;
    tariff *self = nm_resize(NULL, 1, sizeof *self);
    *self = (tariff){
        .payers = nm_cache_of(sizeof(payer)),
        .relevances = nm_cache_of(sizeof(relevance)),
    };
    nm_text currency = {NULL, 0};
    nm_options_text(options, "currency", &currency);
    self->currency = nm_text_copy(currency);
    nm_options by_project = nm_options_map(options, nm_text_of("prices"));
    self->prices = prices_read(&by_project);
    return self;
}

static void drop(void *self) {
    tariff *one = self;
    stateful_transformer_string_free(&one->currency);
    prices_free(&one->prices);
    totals_free(&one->totals);
    nm_cache_clear(&one->payers);
    nm_cache_clear(&one->relevances);
    free(one);
}

static bool is_priced(tariff *one, const nm_row *row) {
    relevance *relevance = nm_cache_meter(&one->relevances, row);
    if (*relevance == UNKNOWN)
        *relevance = row->meter->type == NM_DELTA && nm_text_is(row->meter->name, "cpu") ? PRICED
                                                                                         : PASSING;
    return *relevance == PRICED;
}

static bool any_priced(tariff *one, const nm_batch *batch) {
    nm_rows rows = nm_rows_of(batch);
    for (nm_row row; nm_rows_next(&rows, &row);)
        if (is_priced(one, &row))
            return true;
    return false;
}

// The project of a resource; an empty text without one.
static nm_text project_of(const nm_resource *resource) {
    return resource->project_id.is_some ? resource->project_id.val : (nm_text){NULL, 0};
}

static payer *payer_of(tariff *one, const nm_row *row) {
    payer *payer = nm_cache_resource(&one->payers, row);
    if (!payer->known) {
        payer->known = true;
        payer->day = prices_of(&one->prices, project_of(row->resource));
    }
    return payer;
}

static total *total_of(tariff *one, const nm_row *row, payer *payer) {
    if (!payer->total_at) {
        nm_text project = project_of(row->resource);
        total *total = totals_of(&one->totals, project, row->resource->source);
        payer->total_at = (size_t)(total - one->totals.all) + 1;
    }
    return &one->totals.all[payer->total_at - 1];
}

// The cost of a row; false if it has none.
static bool cost_of(const payer *payer, const nm_row *row, nm_complaint *dropped, double *cost) {
    if (!payer->day) {
        nm_text project = project_of(row->resource);
        if (project.len)
            nm_complaint_add(dropped, row, "project \"%.*s\" has no prices", NM_PRINT(project));
        else
            nm_complaint_add(dropped, row, "no project");
        return false;
    }
    *cost = row->volume / (double)HOUR * payer->day->price[row->time / HOUR % HOURS];
    // A cost that is not finite would invalidate the whole answer, and totals never decrease.
    if (*cost >= 0 && *cost < INFINITY)
        return true;
    nm_complaint_add(dropped, row, "volume is %g", row->volume);
    return false;
}

static bool transform(void *self, const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal) {
    (void)refusal;
    tariff *one = self;
    if (!any_priced(one, batch))
        return true;
    nm_complaint dropped = nm_complaint_that(NM_WARN, "dropping samples without a cost");
    nm_answer_builder answer = nm_answer_to(batch);
    nm_meter meter = {nm_text_of("cost"), one->currency, NM_GAUGE};
    uint32_t cost_meter = nm_answer_meter(&answer, &meter);
    nm_rows rows = nm_rows_of(batch);
    for (nm_row row; nm_rows_next(&rows, &row);) {
        double cost;
        if (!is_priced(one, &row)) {
            nm_answer_keep(&answer, &row);
            continue;
        }
        payer *payer = payer_of(one, &row);
        if (cost_of(payer, &row, &dropped, &cost)) {
            total_add(total_of(one, &row, payer), cost);
            nm_answer_derive(&answer, &row, cost_meter, cost);
        }
    }
    nm_complaint_write(&dropped);
    nm_replace(outcome, &answer);
    return true;
}

static bool flush(void *self, uint64_t now, nm_maybe_answer *maybe, nm_refusal *refusal) {
    (void)refusal;
    tariff *one = self;
    if (one->totals.len == 0)
        return true;
    nm_answer_builder answer = nm_answer_to(NULL);
    nm_meter meter = {nm_text_of("cost.total"), one->currency, NM_CUMULATIVE};
    uint32_t total_meter = nm_answer_meter(&answer, &meter);
    const total **sorted = totals_sorted(&one->totals);
    for (size_t number = 0; number < one->totals.len; number++) {
        const total *total = sorted[number];
        nm_resource resource = {
            .id = total->project,
            .source = total->source,
            .project_id = {true, total->project},
        };
        uint32_t project = nm_answer_resource(&answer, &resource);
        nm_answer_create(&answer, total_meter, project, now, total_value(total));
    }
    free(sorted);
    nm_give(maybe, &answer);
    return true;
}

static bool save(void *self, nm_writer *state, nm_text *error) {
    (void)error;
    const tariff *one = self;
    totals_write(&one->totals, one->currency, state);
    return true;
}

static bool restore(void *self, uint32_t version, nm_text state, nm_text *error) {
    tariff *one = self;
    if (version != STATE_VERSION)
        return nm_state_error(error, "state of version %u; this component reads %d",
                              (unsigned)version, STATE_VERSION);
    nm_text currency;
    totals read;
    bool taken = totals_read(state, &currency, &read);
    if (!taken)
        nm_state_error(error, "the state is damaged");
    else if (!nm_text_equal(currency, one->currency))
        taken = nm_state_error(error, "the totals are in %.*s, the options specify %.*s",
                               NM_PRINT(currency), NM_PRINT(one->currency));
    stateful_transformer_string_free(&currency);
    totals_free(taken ? &one->totals : &read);
    if (taken) {
        one->totals = read;
        // Payers refer to the previous totals.
        nm_cache_clear(&one->payers);
    }
    return taken;
}

const nm_transformer nephometer_transformer = {
    .name = "tariff",
    .version = "0.1.0",
    .summary = "cost of processor time",
    .options_schema = SCHEMA,
    .state_version = STATE_VERSION,
    .make = make,
    .drop = drop,
    .transform = transform,
    .flush = flush,
    .save = save,
    .restore = restore,
};
