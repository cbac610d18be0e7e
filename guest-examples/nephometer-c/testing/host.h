// Internal functions of the testing helpers, which act as the host.

#ifndef NEPHOMETER_TEST_HOST_H
#define NEPHOMETER_TEST_HOST_H

#include "nephometer_test.h"

// The number of an entry. A new entry is sent to the library.
uint32_t nm_test_meter_number(const nm_meter *meter);
uint32_t nm_test_resource_number(const nm_resource *resource);
// The entry with a number, of the host or of the transformer; NULL if there is none.
const nm_meter *nm_test_meter(uint32_t number);
const nm_resource *nm_test_resource(uint32_t number);
// Receives the new entries of an answer; `resources` may be NULL.
void nm_test_take(const exports_nephometer_metering_transform_list_numbered_meter_t *meters,
                  const exports_nephometer_metering_transform_list_numbered_resource_t *resources);
// Makes the library forget all resources with this id.
void nm_test_forget(nm_text id);
// Invalidates all numbers.
void nm_test_new_instance(void);

#endif
