package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// object is a JSON object as encoding/json reads it, one level deep: the slow
// and certain way. Keys are matched exactly; of a key twice the last counts.
type object map[string]json.RawMessage

// parseObject reads an object, or the only element of an array. Otherwise it
// says what is wrong.
func parseObject(b []byte) (o object, problem string) {
	if len(b) > 0 && b[0] == '[' {
		var list []object
		if json.Unmarshal(b, &list) == nil && len(list) == 1 && list[0] != nil {
			return list[0], ""
		}
	}
	err := json.Unmarshal(b, &o)
	if err == nil && o != nil {
		return o, ""
	}
	reason := "not a JSON object"
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		reason = "not JSON (" + err.Error() + ")"
	}
	return nil, reason + ": " + strconv.Quote(excerpt(b))
}

// object returns a member that is an object; nil otherwise.
func (o object) object(key string) object {
	var inner object
	if json.Unmarshal(o[key], &inner) != nil {
		return nil
	}
	return inner
}

// list returns the objects of a member that is an array.
func (o object) list(key string) []object {
	var list []object
	if json.Unmarshal(o[key], &list) != nil {
		return nil
	}
	return list
}

// raw returns what is between the quotes of a string member, still escaped; nil
// where it is none.
func (o object) raw(key string) []byte {
	b := bytes.TrimSpace(o[key])
	if len(b) < 2 || b[0] != '"' {
		return nil
	}
	return b[1 : len(b)-1]
}

// text returns a string member; empty where it is none.
func (o object) text(key string) string { return unquote(o.raw(key)) }

// count returns a member that is a number of at least 0; 0 otherwise.
func (o object) count(key string) int {
	v, err := strconv.ParseFloat(string(bytes.TrimSpace(o[key])), 64)
	if err != nil || !(v > 0) || v > 1<<53 {
		return 0
	}
	return int(v)
}

// has reports whether a member is there and not null.
func (o object) has(key string) bool {
	b := bytes.TrimSpace(o[key])
	return len(b) > 0 && b[0] != 'n'
}

// hasElements reports whether a member is an array that holds anything.
func (o object) hasElements(key string) bool {
	var list []json.RawMessage
	return json.Unmarshal(o[key], &list) == nil && len(list) > 0
}

// truth returns a member that is true.
func (o object) truth(key string) bool { return string(bytes.TrimSpace(o[key])) == "true" }

// unquote decodes what is between the quotes of a JSON string.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw)
	}
	quoted := make([]byte, 0, len(raw)+2)
	quoted = append(append(append(quoted, '"'), raw...), '"')
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return ""
	}
	return s
}

// excerpt returns the start of b as text that can be printed.
func excerpt(b []byte) string {
	const most = 160
	s := strings.ToValidUTF8(string(b[:min(len(b), most)]), "")
	if len(b) > most {
		s += "..."
	}
	return s
}

func sizeText(n int) string {
	if n >= 1<<20 {
		return strconv.Itoa(n>>20) + " MiB"
	}
	return strconv.Itoa(n) + " bytes"
}
