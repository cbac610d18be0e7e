// Command {{name}} is a component: it posts the samples of each envelope as one JSON array.
//
// {{name}}://HOST:PORT/PATH?options; the README describes the options and the handling of responses.
package main

import (
	_ "embed"
	"strings"

	"nephometer"
	"nephometer/http"
)

//go:embed options.schema.json
var schema string

var description = nephometer.Description{
	Name:          "{{name}}",
	Version:       "0.1.0",
	Summary:       "posts samples as JSON",
	OptionsSchema: schema,
}

type poster struct {
	receiver *http.Receiver
}

func newPoster(options *nephometer.URLOptions) (*poster, error) {
	options.WarnOfUnknown(http.Options...)
	return &poster{http.NewReceiver(options)}, options.Check()
}

// Settings requires each sample as JSON text; nephometer.Rows iterates over the columns.
func (p *poster) Settings() nephometer.Settings {
	return nephometer.Settings{Texts: nephometer.TextsSamples}
}

// Publish posts one envelope.
func (p *poster) Publish(delivery *nephometer.Delivery) error {
	if len(delivery.Texts) == 0 {
		return nil
	}
	// The id is the same on every attempt, so that a receiver can drop repetitions.
	headers := map[string]string{"content-type": "application/json", "idempotency-key": delivery.ID}
	_, err := p.receiver.Post([]byte("["+strings.Join(delivery.Texts, ",\n")+"]"), headers)
	return err
}

// The host calls the functions that component.go exports.
func main() {}
