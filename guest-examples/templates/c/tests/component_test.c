#include "nephometer_test.h"

static nm_json json(const char *text) {
    return nm_test_json(nm_text_of(text));
}

static void volumes_are_scaled(void) {
    nm_option_errors errors;
    NM_CHECK(nm_test_configure(nm_text_copy(nm_text_of("{\"factor\": 2.5}")), &errors), "refused");
    nm_json samples = json("[{\"name\": \"memory.usage\", \"type\": \"gauge\", \"unit\": \"MB\", \"volume\": 4,"
                           " \"resource_id\": \"r\", \"timestamp\": \"2026-03-01T10:00:00\"}]");
    nm_samples found;
    nm_refusal refusal;
    NM_CHECK(nm_test_transform(nm_test_batch(&samples, NULL), &found, &refusal), "refused");
    NM_CHECK(found.len == 1 && found.all[0].volume == 10, "%zu samples", found.len);
    nm_samples_free(&found);
    nm_json_free(&samples);
}

int main(void) {
    volumes_are_scaled();
    NM_CHECK(nm_test_fixtures("fixtures", 1e-12) == 2, "not two fixtures");
    return nm_test_result();
}
