package nephometer

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// Resource is a metered thing with its owner.
type Resource struct {
	// Unique within the cloud.
	ID string
	// The naming authority that the ids come from.
	Source string
	// The project that pays; nil where none is known.
	ProjectID *string
	// The user who created the resource; nil where none is known.
	UserID *string

	// Either of the two may be missing; it is made of the other when it is first asked for.
	text     string
	metadata map[string]any
}

// WithMetadata gives the resource this metadata, as native values. It returns the resource.
func (r *Resource) WithMetadata(metadata map[string]any) *Resource {
	r.text, r.metadata = "", metadata
	return r
}

// WithMetadataText gives the resource this metadata, the JSON text of an object. It returns the resource.
func (r *Resource) WithMetadataText(text string) *Resource {
	r.text, r.metadata = text, nil
	return r
}

// Metadata gives the metadata as native values: integers are int64 where they fit, other numbers
// float64. It panics if the text is no object, which the host's always is.
func (r *Resource) Metadata() map[string]any {
	if r.metadata == nil {
		r.metadata = map[string]any{}
		if r.text != "" {
			value, err := decode([]byte(r.text))
			object, is := value.(map[string]any)
			if err != nil || !is {
				panic(fmt.Sprintf("the metadata of %s is no JSON object: %.100s", r.ID, r.text))
			}
			r.metadata = object
		}
	}
	return r.metadata
}

// MetadataText gives the metadata as the JSON text of an object. It panics if the metadata holds
// what JSON does not have.
func (r *Resource) MetadataText() string {
	if r.text == "" {
		text, err := json.Marshal(r.Metadata())
		if err != nil {
			panic(fmt.Sprintf("the metadata of %s: %v", r.ID, err))
		}
		r.text = string(text)
	}
	return r.text
}

// What tells most resources apart: a key without the metadata, which then need not be decoded.
type owned struct {
	id, source, project, user string
	hasProject, hasUser       bool
}

func (r *Resource) owned() owned {
	key := owned{id: r.ID, source: r.Source, hasProject: r.ProjectID != nil, hasUser: r.UserID != nil}
	if r.ProjectID != nil {
		key.project = *r.ProjectID
	}
	if r.UserID != nil {
		key.user = *r.UserID
	}
	return key
}

func (r *Resource) sameMetadata(other *Resource) bool {
	if r.text != "" && r.text == other.text {
		return true
	}
	// Through the text: an author's int is the int64 of what was decoded.
	one, _ := decode([]byte(r.MetadataText()))
	two, _ := decode([]byte(other.MetadataText()))
	return reflect.DeepEqual(one, two)
}
