"""`{{name}}`: posts the samples of each envelope as one JSON array.

`{{name}}://HOST:PORT/PATH?options`; the README describes the options and the handling of responses.
"""

from nephometer import Description, Settings, http


class Poster:
    schema = {"type": "object", "properties": http.OPTIONS}
    description = Description("{{name}}", "0.1.0", "posts samples as JSON", schema)
    # The host adds each sample as JSON text; `rows(delivery.batch)` iterates over the columns.
    settings = Settings(texts="samples")

    def __init__(self, options):
        self.receiver = http.Receiver(options)
        options.warn_of_unknown(list(http.OPTIONS))
        options.check()

    def publish(self, delivery):
        # The id is the same on every attempt, so that a receiver can drop repetitions.
        headers = {"content-type": "application/json", "idempotency-key": delivery.id}
        if delivery.texts:
            self.receiver.post("[" + ",\n".join(delivery.texts) + "]", headers)
