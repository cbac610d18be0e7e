// Tests of tariff: the shared fixtures, a simple model, and damaged states.
//
//     tariff_test FOLDER_OF_TARIFF

#include "../schema.h"
#include "../total.h"
#include "nephometer_test.h"

static const uint64_t HOUR = UINT64_C(3600000000000);

static void configure(const char *options) {
    nm_option_errors errors;
    bool done = nm_test_configure(nm_text_copy(nm_text_of(options)), &errors);
    NM_CHECK(done, "the options are refused: %s", options);
    exports_nephometer_metering_component_list_option_error_free(&errors);
}

static nm_text saved(void) {
    nm_bytes state = {NULL, 0};
    nm_text error;
    NM_CHECK(exports_nephometer_metering_stateful_save(&state, &error), "not saved");
    return (nm_text){state.ptr, state.len};
}

// Restores a state. Returns the error, or an empty text.
static nm_text restored(uint32_t version, nm_text state) {
    nm_bytes bytes = {state.ptr, state.len};
    nm_text error = {NULL, 0};
    if (exports_nephometer_metering_stateful_restore(version, &bytes, &error))
        return (nm_text){NULL, 0};
    return error;
}

static void check_restored(uint32_t version, nm_text state) {
    nm_text error = restored(version, state);
    NM_CHECK(error.len == 0, "not restored: %.*s", NM_PRINT(error));
    stateful_transformer_string_free(&error);
}

static void fixtures(const char *shared) {
    nm_text folder = nm_text_print("%s/fixtures%c", shared, 0);
    // What a total loses otherwise is less than what the host would see.
    size_t count = nm_test_fixtures((const char *)folder.ptr, 4e-16);
    NM_CHECK(count > 4, "%zu fixtures in %s", count, (const char *)folder.ptr);
    stateful_transformer_string_free(&folder);
}

static void schema_is_the_shared_one(const char *shared) {
    nm_text path = nm_text_print("%s/options.schema.json%c", shared, 0);
    nm_text file = nm_test_file((const char *)path.ptr);
    nm_json theirs = nm_test_json(file), ours = nm_test_json(nm_text_of(SCHEMA));
    NM_CHECK(nm_json_equal(&theirs, &ours), "schema.h differs");
    nm_json_free(&theirs);
    nm_json_free(&ours);
    stateful_transformer_string_free(&file);
    stateful_transformer_string_free(&path);
}

static void description(void) {
    exports_nephometer_metering_component_description_t one;
    exports_nephometer_metering_component_describe(&one);
    NM_CHECK(nm_text_is(one.name, "tariff") && one.state_version == 1, "not as described");
    exports_nephometer_metering_component_description_free(&one);
}

// A model that counts exactly: prices are whole multiples of a part, volumes whole nanoseconds.

__extension__ typedef unsigned __int128 exact;

enum { PROJECTS = 3, HOURS = 24, CYCLES = 200, ROWS = 50, PARTS = 50 };
static const char *const NAMES[PROJECTS] = {"alpha", "beta", "gamma"};

static uint64_t chance(void) {
    // A linear congruence of full period; its upper bits are good.
    static uint64_t seed = 1;
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return seed >> 11;
}

static uint64_t below(uint64_t end) {
    return chance() % end;
}

typedef struct model {
    uint64_t prices[PROJECTS][HOURS]; // in parts: 2 to the power of -PARTS
    exact sums[PROJECTS];             // of nanoseconds times parts
} model;

static double in_units(uint64_t parts) {
    return (double)parts / (double)(UINT64_C(1) << PARTS);
}

static nm_text make_options(model *model) {
    nm_writer options = {0};
    nm_write(&options, "{\"currency\": \"EUR\", \"prices\": {");
    for (int project = 0; project < PROJECTS; project++) {
        nm_print(&options, "%s\"%s\": [", project ? "], " : "", NAMES[project]);
        for (int hour = 0; hour < HOURS; hour++) {
            uint64_t parts = below(UINT64_C(1) << (30 + below(24)));
            model->prices[project][hour] = parts;
            nm_print(&options, "%s{\"from\": %d, \"to\": %d, \"price\": %.17g}", hour ? ", " : "",
                     hour, hour + 1, in_units(parts));
        }
    }
    nm_write_bytes(&options, "]}}", 4);
    return nm_written(&options);
}

static void write_sample(nm_writer *to, const char *project, uint64_t volume, int hour) {
    nm_print(to, "{\"name\": \"cpu\", \"unit\": \"ns\", \"type\": \"delta\", \"volume\": %llu, ",
             (unsigned long long)volume);
    nm_print(to, "\"resource_id\": \"of-%s\", \"project_id\": \"%s\", ", project, project);
    nm_print(to, "\"timestamp\": \"2026-03-01T%02d:%02d:00Z\"}", hour, (int)below(60));
}

static nm_samples transformed(nm_writer *samples) {
    nm_text text = nm_written(samples);
    nm_json list = nm_test_json(text);
    nm_samples found;
    nm_refusal refusal;
    bool done = nm_test_transform(nm_test_batch(&list, NULL), &found, &refusal);
    NM_CHECK(done, "refused");
    nm_json_free(&list);
    stateful_transformer_string_free(&text);
    return found;
}

static void run_cycle(model *model) {
    nm_writer samples = {0};
    nm_write(&samples, "[");
    for (int row = 0; row < ROWS; row++) {
        uint64_t project = below(PROJECTS), hour = below(HOURS), limit = 10;
        for (uint64_t digits = below(16); digits > 0; digits--)
            limit *= 10;
        uint64_t volume = below(limit);
        model->sums[project] += (exact)volume * model->prices[project][hour];
        nm_write(&samples, row ? ", " : "");
        write_sample(&samples, NAMES[project], volume, (int)hour);
    }
    nm_write(&samples, "]");
    nm_samples found = transformed(&samples);
    NM_CHECK(found.len == ROWS, "%zu rows", found.len);
    for (size_t row = 0; row < found.len; row++)
        NM_CHECK(found.all[row].origin == row, "the origin of row %zu", row);
    nm_samples_free(&found);
}

static void check_total(const nm_sample *found, const char *project, exact sum) {
    exact unit = (exact)HOUR << PARTS;
    // Both steps are exact, or their errors are below the tolerance.
    double difference = found->volume - (double)(sum / unit) - (double)(sum % unit) / (double)unit;
    NM_CHECK(difference < 1e-9 && difference > -1e-9, "%s is off by %g", project, difference);
    NM_CHECK(nm_text_is(found->resource->project_id.val, project), "not of %s", project);
    NM_CHECK(found->time == UINT64_C(1000000000000000000), "at another time");
    NM_CHECK(found->origin == NM_NO_ORIGIN, "it has an origin");
}

static void totals_are_those_of_exact_arithmetic(void) {
    model model = {0};
    nm_text options = make_options(&model);
    configure((const char *)options.ptr);
    for (int cycle = 0; cycle < CYCLES; cycle++) {
        if (cycle % 20 == 7) {
            nm_text state = saved();
            configure((const char *)options.ptr);
            check_restored(1, state);
        }
        run_cycle(&model);
    }
    nm_samples found;
    nm_refusal refusal;
    NM_CHECK(nm_test_flush(UINT64_C(1000000000000000000), &found, &refusal), "refused");
    if (NM_CHECK(found.len == PROJECTS, "%zu totals", found.len))
        for (int project = 0; project < PROJECTS; project++)
            check_total(&found.all[project], NAMES[project], model.sums[project]);
    nm_samples_free(&found);
    stateful_transformer_string_free(&options);
}

// A naive sum would lose each of them: half of the last digit of 4,000,000 is 2.3e-10.
static void small_costs_are_not_lost(void) {
    total one = {0};
    total_add(&one, 4e6);
    for (int number = 0; number < 1000000; number++)
        total_add(&one, 1e-10);
    NM_CHECK(one.sum == 4e6, "the sum is %.17g", one.sum);
    NM_CHECK(total_value(&one) == 4000000.0001, "the total is %.17g", total_value(&one));
}

#define DAY "[{\"from\": 0, \"to\": 24, \"price\": 1}]"
static const char EUROS[] = "{\"currency\": \"EUR\", \"prices\": {\"alpha\": " DAY "}}";
static const char FRANCS[] = "{\"currency\": \"CHF\", \"prices\": {\"alpha\": " DAY "}}";
static const char BOTH[] =
    "{\"currency\": \"EUR\", \"prices\": {\"alpha\": " DAY ", \"beta\": " DAY "}}";
static const char BETA[] = "{\"currency\": \"EUR\", \"prices\": {\"beta\": " DAY "}}";

static void check_refused(uint32_t version, nm_text state, const char *reason) {
    nm_text about = nm_text_copy(state), before = saved();
    nm_text error = restored(version, state), after = saved();
    NM_CHECK(nm_text_is(error, reason), "\"%.*s\": \"%.*s\" instead of \"%s\"", NM_PRINT(about),
             NM_PRINT(error), reason);
    NM_CHECK(nm_text_equal(before, after), "\"%.*s\" has changed the totals", NM_PRINT(about));
    stateful_transformer_string_free(&about);
    stateful_transformer_string_free(&before);
    stateful_transformer_string_free(&error);
    stateful_transformer_string_free(&after);
}

static void states_of_others_are_refused(void) {
    configure(FRANCS);
    nm_text other = saved();
    configure(EUROS);
    check_refused(1, other, "the totals are in CHF, the options specify EUR");
    check_refused(2, nm_text_copy(nm_text_of("{}")),
                  "state of version 2; this component reads 1");
    static const char *const damaged[] = {
        "\xff",
        "",
        "[]",
        "3",
        "{\"totals\": [3]}",
        "{\"currency\": \"EUR\"}",
        "{\"currency\": \"EUR\", \"totals\": {}}",
        "{\"currency\": \"EUR\", \"totals\": []",
        "{\"currency\": \"EUR\", \"totals\": [[\"alpha\", \"openstack\", \"much\", 0]]}",
        "{\"currency\": \"EUR\", \"totals\": [[\"alpha\", \"openstack\", 1, 0], [\"beta\"]]}",
        "{\"currency\": \"EUR\", \"totals\": [[\"alpha\", \"openstack\", 1e999, 0]]}",
        "{\"currency\": \"EUR\", \"totals\": [[\"\xc3\", \"openstack\", 1, 0]]}",
    };
    for (size_t number = 0; number < sizeof damaged / sizeof *damaged; number++)
        check_refused(1, nm_text_copy(nm_text_of(damaged[number])), "the state is damaged");
}

// Every proper prefix of a state is damaged.
static void truncated_states_are_refused(void) {
    static const char state[] =
        "{\"currency\":\"EUR\",\"totals\":[[\"al\\u0070ha\",\"openstack\",1.5,-2e-17]]}";
    for (size_t len = 0; len + 1 < sizeof state; len++)
        check_refused(1, nm_text_copy((nm_text){(uint8_t *)state, len}), "the state is damaged");
    check_restored(1, nm_text_copy(nm_text_of(state)));
    nm_text again = saved();
    NM_CHECK(nm_text_is(again, "{\"currency\":\"EUR\",\"totals\":"
                               "[[\"alpha\",\"openstack\",1.5,-2e-17]]}"),
             "%.*s", NM_PRINT(again));
    stateful_transformer_string_free(&again);
}

static void projects_without_prices_keep_their_totals(void) {
    configure(BOTH);
    nm_writer samples = {0};
    nm_write(&samples, "[");
    write_sample(&samples, "alpha", HOUR, 10);
    nm_write(&samples, "]");
    nm_samples found = transformed(&samples);
    nm_samples_free(&found);
    nm_text state = saved();
    configure(BETA);
    check_restored(1, state);
    nm_refusal refusal;
    NM_CHECK(nm_test_flush(1, &found, &refusal), "refused");
    NM_CHECK(found.len == 1 && found.all[0].volume == 1, "the total is lost");
    nm_samples_free(&found);
}

static void nothing_works_before_it_is_configured(void) {
    nm_samples found;
    nm_refusal refusal;
    nm_json none = {.kind = NM_LIST};
    if (NM_CHECK(!nm_test_transform(nm_test_batch(&none, NULL), &found, &refusal), "it works")) {
        bool broken = refusal.tag == EXPORTS_NEPHOMETER_METERING_TRANSFORM_REFUSAL_BROKEN;
        NM_CHECK(broken, "not broken");
        exports_nephometer_metering_transform_refusal_free(&refusal);
    }
}

int main(int count, char **arguments) {
    const char *shared = count > 1 ? arguments[1] : "../tariff";
    nothing_works_before_it_is_configured();
    description();
    schema_is_the_shared_one(shared);
    fixtures(shared);
    totals_are_those_of_exact_arithmetic();
    small_costs_are_not_lost();
    states_of_others_are_refused();
    truncated_states_are_refused();
    projects_without_prices_keep_their_totals();
    return nm_test_result();
}
