package nephometer

import (
	"encoding/json"
	"fmt"
)

// Resource is a metered resource with its owner: an instance, or one of its disks or interfaces.
type Resource struct {
	// Unique within the cloud.
	ID string
	// The naming authority of the ids.
	Source string
	// The project that pays; nil if unknown.
	ProjectID *string
	// The user who created the resource; nil if unknown.
	UserID *string

	// One of the two may be missing; it is computed from the other when it is first needed.
	text     string
	metadata map[string]any
}

// WithMetadata sets the metadata, as native values. It returns the resource.
func (r *Resource) WithMetadata(metadata map[string]any) *Resource {
	r.text, r.metadata = "", metadata
	return r
}

// WithMetadataText sets the metadata, as the JSON text of an object. It returns the resource.
func (r *Resource) WithMetadataText(text string) *Resource {
	r.text, r.metadata = text, nil
	return r
}

// Metadata returns the metadata as native values: integers are int64 where they fit, other numbers
// float64. Copy the map before you modify it: the resource is used again by later batches. It
// panics if the text is not an object; the host always sends an object.
func (r *Resource) Metadata() map[string]any {
	if r.metadata == nil {
		r.metadata = map[string]any{}
		if r.text != "" {
			value, err := decode([]byte(r.text))
			object, is := value.(map[string]any)
			if err != nil || !is {
				panic(fmt.Sprintf("metadata of %s is not a JSON object: %.100s", r.ID, r.text))
			}
			r.metadata = object
		}
	}
	return r.metadata
}

// MetadataText returns the metadata as the JSON text of an object. It panics if the metadata holds
// a value that JSON cannot represent.
func (r *Resource) MetadataText() string {
	if r.text == "" && len(r.metadata) == 0 {
		r.text = "{}"
	}
	if r.text == "" {
		text, err := json.Marshal(r.metadata)
		if err != nil {
			panic(fmt.Sprintf("metadata of %s: %v", r.ID, err))
		}
		r.text = string(text)
	}
	return r.text
}

// resourceKey is the content of a resource, as a key of maps.
type resourceKey struct {
	id, source, project, user, metadata string
	hasProject, hasUser                 bool
}

func (r *Resource) key() resourceKey {
	key := resourceKey{
		id:         r.ID,
		source:     r.Source,
		metadata:   r.MetadataText(),
		hasProject: r.ProjectID != nil,
		hasUser:    r.UserID != nil,
	}
	if r.ProjectID != nil {
		key.project = *r.ProjectID
	}
	if r.UserID != nil {
		key.user = *r.UserID
	}
	return key
}
