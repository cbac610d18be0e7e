package nephometer

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

var partsOfURL = []string{"url", "scheme", "host", "port", "path", "user", "password", "query"}

// URLOptions are the options of a publisher: the parts of its URL merged with the keys of its block.
//
// An option may be set in the query of the URL and in the block. The query takes precedence: it
// belongs to one place in pipeline.yaml, the block to all.
type URLOptions struct {
	whole, query *OptionReader
}

// NewURLOptions returns a reader of the whole options.
func NewURLOptions(options *OptionReader) *URLOptions {
	return &URLOptions{options, options.Object("query")}
}

// Host returns the host of the URL, without the brackets of an IPv6 address; an error if there is
// none.
func (u *URLOptions) Host() string {
	host, _ := u.whole.Text("host")
	if host == "" {
		u.whole.Refuse("the URL has no host; expected SCHEME://HOST[:PORT]", "host")
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// Port returns the port of the URL, or the default.
func (u *URLOptions) Port(otherwise uint16) uint16 {
	if u.whole.Value("port") == nil {
		return otherwise
	}
	port, _ := u.whole.Number("port")
	if port < 1 || port > math.MaxUint16 || port != math.Trunc(port) {
		u.whole.Refuse("expected a number from 1 to 65535", "port")
		return otherwise
	}
	return uint16(port)
}

// Path returns the path of the URL without its first slash, with % escapes decoded.
func (u *URLOptions) Path() string {
	path, _ := u.whole.Text("path")
	path = strings.TrimPrefix(path, "/")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		u.whole.Refuse("has malformed % escapes", "path")
		return path
	}
	return decoded
}

// User returns the user of the URL, else of the block, and whether there is one.
func (u *URLOptions) User() (string, bool) {
	user, _ := u.whole.Text("user")
	return user, user != ""
}

// Text returns a string of the query, else of the block, and whether there is one. The last one
// counts if the query repeats it.
func (u *URLOptions) Text(key string) (string, bool) {
	if text, given := u.ofQuery(key); given {
		return text, true
	}
	return u.whole.Text(key)
}

// Number returns a number of the query, else of the block, and whether there is one.
func (u *URLOptions) Number(key string) (float64, bool) {
	text, given := u.ofQuery(key)
	if !given {
		return u.whole.Number(key)
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(number) || math.IsInf(number, 0) {
		u.query.Refuse(fmt.Sprintf("is %q; expected a number", text), key)
		return 0, false
	}
	return number, true
}

// Flag returns a boolean of the query (true, false, or the name alone for true), else of the block;
// false if it is absent.
func (u *URLOptions) Flag(key string) bool {
	if text, given := u.ofQuery(key); given {
		switch text {
		case "true", "yes", "1", "":
			return true
		case "false", "no", "0":
			return false
		}
		u.query.Refuse(fmt.Sprintf("is %q; expected true or false", text), key)
		return false
	}
	value, is := u.whole.Value(key).(bool)
	if !is && u.whole.Value(key) != nil {
		u.whole.Refuse("expected true or false", key)
	}
	return value
}

// Value returns a value of the block or of the URL as it is; the query is ignored.
func (u *URLOptions) Value(key string) any {
	return u.whole.Value(key)
}

// Refuse adds an error for an option, in the query if it is set there.
func (u *URLOptions) Refuse(reason, key string) {
	if u.query.Value(key) != nil {
		u.query.Refuse(reason, key)
		return
	}
	u.whole.Refuse(reason, key)
}

// Check returns all errors as OptionErrors; nil if there are none.
func (u *URLOptions) Check() error {
	return u.whole.Check()
}

// WarnOfUnknown logs a warning for each option that is not known. The parts of the URL are always
// known.
func (u *URLOptions) WarnOfUnknown(known ...string) {
	u.whole.WarnOfUnknown(slices.Concat(partsOfURL, known)...)
	u.query.WarnOfUnknown(known...)
}

func (u *URLOptions) ofQuery(key string) (string, bool) {
	values, is := u.query.Value(key).([]any)
	if !is || len(values) == 0 {
		return "", false
	}
	text, is := values[len(values)-1].(string)
	return text, is
}
