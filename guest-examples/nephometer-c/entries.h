// Internal functions of export.c, dictionary.c, own.c and answer.c. Authors do not need them.

#ifndef NEPHOMETER_ENTRIES_H
#define NEPHOMETER_ENTRIES_H

#include "nephometer.h"

// dictionary.c: the host's entries.

// Applies changes from the host. Takes ownership of the entries.
void nm_dictionary_change(exports_nephometer_metering_dictionary_changes_t *changes);
// Forgets all entries, for a new instance.
void nm_dictionary_clear(void);

// own.c: the transformer's own entries, numbered by content.

// Call it before each call of the transformer. If there are too many entries, numbering starts
// again, and the host replaces its entries.
void nm_own_begin(void);
// Forgets all entries, for a new instance.
void nm_own_clear(void);
uint32_t nm_own_meter(const nm_meter *meter);
uint32_t nm_own_resource(const nm_resource *resource);
// Copy the entries that the host does not have yet. They then count as sent, so call these only for
// an answer that the host gets.
exports_nephometer_metering_transform_list_numbered_meter_t nm_own_send_meters(void);
exports_nephometer_metering_transform_list_numbered_resource_t nm_own_send_resources(void);

#endif
