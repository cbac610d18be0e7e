// Runs fixtures, as docs/fixtures.md describes them.

#include <dirent.h>
#include <math.h>
#include <string.h>

#include "nephometer_test.h"

// The step that runs, and the relative tolerance of numbers.
typedef struct place {
    const char *file;
    double tolerance;
    size_t step;
} place;

#define EXPECT(holds, place, format, ...)                                                          \
    NM_CHECK(holds, "%s, step %zu: " format, (place).file, (place).step + 1, __VA_ARGS__)

static nm_text written(const nm_json *value) {
    nm_writer writer = {0};
    nm_json_write(&writer, value);
    return nm_written(&writer);
}

// Equal within the tolerance.
static bool alike_number(double found, double expected, double tolerance) {
    return fabs(found - expected) <= tolerance * fabs(expected);
}

static bool alike(const nm_json *found, const nm_json *expected, double tolerance) {
    if (found->kind != expected->kind || found->len != expected->len)
        return false;
    if (found->kind == NM_NUMBER)
        return alike_number(found->number, expected->number, tolerance);
    if (found->kind != NM_LIST && found->kind != NM_MAP)
        return nm_json_equal(found, expected);
    for (size_t number = 0; number < expected->len; number++) {
        const nm_json *one = &found->items[number];
        if (found->kind == NM_MAP)
            one = nm_json_find(found, expected->keys[number]);
        if (!one || !alike(one, &expected->items[number], tolerance))
            return false;
    }
    return true;
}

static bool same_text(nm_text found, const nm_json *expected) {
    return expected->kind == NM_TEXT && nm_text_equal(found, expected->text);
}

static bool same_maybe(const stateful_transformer_option_string_t *found, const nm_json *expected) {
    return found->is_some ? same_text(found->val, expected) : expected->kind == NM_NULL;
}

static bool same_volume(const nm_sample *found, const nm_json *expected, double tolerance) {
    int64_t exact;
    if (found->is_exact && nm_test_integer(expected, &exact))
        return found->exact == exact;
    return expected->kind == NM_NUMBER && alike_number(found->volume, expected->number, tolerance);
}

static bool same_field(const nm_sample *found, nm_text key, const nm_json *expected,
                       double tolerance) {
    static const char *const types[] = {"gauge", "delta", "cumulative"};
    uint64_t time;
    if (nm_text_is(key, "name"))
        return same_text(found->meter->name, expected);
    if (nm_text_is(key, "unit"))
        return same_text(found->meter->unit, expected);
    if (nm_text_is(key, "type"))
        return same_text(nm_text_of(types[found->meter->type]), expected);
    if (nm_text_is(key, "resource_id"))
        return same_text(found->resource->id, expected);
    if (nm_text_is(key, "source"))
        return same_text(found->resource->source, expected);
    if (nm_text_is(key, "project_id"))
        return same_maybe(&found->resource->project_id, expected);
    if (nm_text_is(key, "user_id"))
        return same_maybe(&found->resource->user_id, expected);
    if (nm_text_is(key, "timestamp"))
        return expected->kind == NM_TEXT && nm_test_nanoseconds(expected->text, &time) &&
               time == found->time;
    if (nm_text_is(key, "volume"))
        return same_volume(found, expected, tolerance);
    if (!nm_text_is(key, "resource_metadata"))
        return false;
    nm_json metadata;
    bool same = nm_resource_metadata(found->resource, &metadata) &&
                alike(&metadata, expected, tolerance);
    nm_json_free(&metadata);
    return same;
}

static void compare_samples(place at, const nm_samples *found, const nm_json *expected) {
    EXPECT(found->len == expected->len, at, "%zu samples, expected %zu", found->len,
           expected->len);
    for (size_t row = 0; row < found->len && row < expected->len; row++) {
        const nm_json *sample = &expected->items[row];
        for (size_t number = 0; number < sample->len; number++) {
            const nm_json *field = &sample->items[number];
            nm_text key = sample->keys[number], value = written(field);
            EXPECT(same_field(&found->all[row], key, field, at.tolerance), at,
                   "row %zu: %.*s is not %.*s (volume %.17g)", row, NM_PRINT(key),
                   NM_PRINT(value), found->all[row].volume);
            stateful_transformer_string_free(&value);
        }
    }
}

static bool contains(nm_text text, nm_text substring) {
    for (size_t begin = 0; begin + substring.len <= text.len; begin++)
        if (memcmp(text.ptr + begin, substring.ptr, substring.len) == 0)
            return true;
    return false;
}

static void compare_result(place at, bool done, nm_samples *found, nm_refusal *refusal,
                           const nm_json *step) {
    const nm_json *out = nm_json_get(step, "out"), *refused = nm_json_get(step, "refusal");
    if (done) {
        if (EXPECT(out, at, "%s", "not refused"))
            compare_samples(at, found, out);
        nm_samples_free(found);
        return;
    }
    nm_text reason = refusal->val.rejected;
    EXPECT(refused && contains(reason, refused->text), at, "refused: %.*s", NM_PRINT(reason));
    exports_nephometer_metering_transform_refusal_free(refusal);
}

static void compare_log(place at, const nm_json *expected) {
    stateful_transformer_list_string_t lines = nm_test_log();
    for (size_t number = 0; expected && number < expected->len; number++) {
        nm_text wanted = expected->items[number].text;
        bool logged = false;
        for (size_t line = 0; line < lines.len; line++)
            logged |= nm_text_equal(lines.ptr[line], wanted);
        EXPECT(logged, at, "not logged: %.*s", NM_PRINT(wanted));
    }
    stateful_transformer_list_string_free(&lines);
}

static bool configure(place at, const nm_json *options) {
    nm_option_errors errors;
    bool done = nm_test_configure(written(options), &errors);
    for (size_t number = 0; number < errors.len; number++)
        EXPECT(false, at, "%.*s: %.*s", NM_PRINT(errors.ptr[number].pointer),
               NM_PRINT(errors.ptr[number].reason));
    exports_nephometer_metering_component_list_option_error_free(&errors);
    return done;
}

static void compare_errors(place at, const nm_json *options, const nm_json *expected) {
    nm_option_errors errors;
    EXPECT(!nm_test_configure(written(options), &errors), at, "%s", "the options were accepted");
    EXPECT(errors.len == expected->len, at, "%zu errors, expected %zu", errors.len, expected->len);
    for (size_t number = 0; number < errors.len; number++) {
        nm_text pointer = errors.ptr[number].pointer, reason = errors.ptr[number].reason;
        bool known = false;
        for (size_t one = 0; one < expected->len; one++) {
            const nm_json *pair = expected->items[one].items;
            known |= same_text(pointer, &pair[0]) && same_text(reason, &pair[1]);
        }
        EXPECT(known, at, "%.*s: %.*s", NM_PRINT(pointer), NM_PRINT(reason));
    }
    exports_nephometer_metering_component_list_option_error_free(&errors);
}

static void save_and_restore(place at, const nm_json *options, const nm_json *expected,
                             uint32_t version) {
    nm_bytes state;
    nm_text error;
    if (!exports_nephometer_metering_stateful_save(&state, &error)) {
        EXPECT(false, at, "not saved: %.*s", NM_PRINT(error));
        stateful_transformer_string_free(&error);
        return;
    }
    nm_text text = {state.ptr, state.len};
    if (expected->kind != NM_BOOL) {
        nm_json saved = nm_test_json(text);
        EXPECT(alike(&saved, expected, at.tolerance), at, "the state is %.*s", NM_PRINT(text));
        nm_json_free(&saved);
    }
    configure(at, options);
    if (!exports_nephometer_metering_stateful_restore(version, &state, &error)) {
        EXPECT(false, at, "not restored: %.*s", NM_PRINT(error));
        stateful_transformer_string_free(&error);
    }
}

static nm_batch batch_of(const nm_json *fixture, const nm_json *step) {
    nm_batch batch = nm_test_batch(nm_json_get(step, "batch"), nm_json_get(fixture, "defaults"));
    const nm_json *removed = nm_json_get(step, "gone");
    for (size_t number = 0; removed && number < removed->len; number++)
        nm_test_removed(&batch, removed->items[number].text);
    return batch;
}

static void run_step(place at, const nm_json *fixture, const nm_json *step) {
    const nm_json *state = nm_json_get(step, "state"), *now = nm_json_get(step, "flush");
    const nm_json *options = nm_json_get(fixture, "options");
    nm_samples found;
    nm_refusal refusal;
    uint64_t time;
    if (state) {
        save_and_restore(at, options, state, nephometer_transformer.state_version);
    } else if (!now) {
        bool done = nm_test_transform(batch_of(fixture, step), &found, &refusal);
        compare_result(at, done, &found, &refusal, step);
    } else if (EXPECT(nm_test_nanoseconds(now->text, &time), at, "%s", "flush is not a time")) {
        bool done = nm_test_flush(time, &found, &refusal);
        compare_result(at, done, &found, &refusal, step);
    }
    compare_log(at, nm_json_get(step, "log"));
}

static void run_fixture(const char *file, double tolerance) {
    nm_text text = nm_test_file(file);
    nm_json fixture = nm_test_json(text);
    stateful_transformer_string_free(&text);
    const nm_json *options = nm_json_get(&fixture, "options");
    const nm_json *errors = nm_json_get(&fixture, "errors");
    const nm_json *steps = nm_json_get(&fixture, "steps");
    place at = {file, tolerance, 0};
    if (errors)
        compare_errors(at, options, errors);
    else if (configure(at, options))
        for (; at.step < steps->len; at.step++)
            run_step(at, &fixture, &steps->items[at.step]);
    nm_json_free(&fixture);
}

size_t nm_test_fixtures(const char *folder, double tolerance) {
    DIR *entries = opendir(folder);
    size_t count = 0;
    if (!NM_CHECK(entries, "%s cannot be read", folder))
        return count;
    for (struct dirent *entry; (entry = readdir(entries));) {
        const char *end = strrchr(entry->d_name, '.');
        if (!end || strcmp(end, ".json") != 0)
            continue;
        nm_text file = nm_text_print("%s/%s%c", folder, entry->d_name, 0);
        run_fixture((const char *)file.ptr, tolerance);
        stateful_transformer_string_free(&file);
        count++;
    }
    closedir(entries);
    return count;
}
