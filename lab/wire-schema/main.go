// Command wire-schema prints the table of Kubernetes' API types that the apiserver crate reads:
// every field's JSON name, protobuf number, type and merge rules, taken from the struct tags and
// comment markers of k8s.io/api. Descriptions are left out.
//
//	go run . > ../../crates/apiserver/src/schema/types.json
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func main() {
	log.SetFlags(0)
	table, err := newTable()
	if err != nil {
		log.Fatal(err)
	}
	out := bufio.NewWriter(os.Stdout)
	table.print(out)
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

// table is everything that is printed: which message a kind is, and what the messages look like.
type table struct {
	kinds    map[string]string
	messages map[string]message
	markers  *markers
}

// message is one Go struct.
type message struct {
	// Atomic is set when server-side apply must replace the struct as a whole.
	Atomic bool    `json:"atomic,omitempty"`
	Fields []field `json:"fields"`
}

// field is one struct field; see the Rust side (schema/table.rs) for the meaning of each word.
type field struct {
	Name    string          `json:"name,omitempty"`
	Number  int             `json:"number,omitempty"`
	Type    string          `json:"type"`
	Shape   string          `json:"shape,omitempty"`
	Pointer bool            `json:"pointer,omitempty"`
	Always  bool            `json:"always,omitempty"`
	Inline  bool            `json:"inline,omitempty"`
	Go      string          `json:"go,omitempty"`
	Patch   string          `json:"patch,omitempty"`
	Key     string          `json:"key,omitempty"`
	List    string          `json:"list,omitempty"`
	Keys    []string        `json:"keys,omitempty"`
	Atomic  bool            `json:"atomic,omitempty"`
	Default json.RawMessage `json:"default,omitempty"`
}

func newTable() (*table, error) {
	scheme := runtime.NewScheme()
	for _, add := range groups {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	t := &table{kinds: map[string]string{}, messages: map[string]message{}, markers: newMarkers()}
	for gvk, goType := range scheme.AllKnownTypes() {
		if !wanted(gvk, goType) {
			continue
		}
		apiVersion, kind := gvk.ToAPIVersionAndKind()
		t.kinds[apiVersion+"/"+kind] = messageName(goType)
		if err := t.addMessage(goType); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// wanted says whether a client may send this kind as a body: not the list kinds, not the internal
// versions, and the kinds of package meta only once and not for each group.
func wanted(gvk schema.GroupVersionKind, goType reflect.Type) bool {
	if gvk.Version == runtime.APIVersionInternal || strings.HasSuffix(gvk.Kind, "List") {
		return false
	}
	isMeta := strings.HasSuffix(goType.PkgPath(), "/meta/v1")
	return !isMeta || (gvk.Group == "" && gvk.Version == "v1" && slices.Contains(metaKinds, gvk.Kind))
}

func (t *table) addMessage(goType reflect.Type) error {
	name := messageName(goType)
	if _, known := t.messages[name]; known {
		return nil
	}
	t.messages[name] = message{}
	m := message{Atomic: t.markers.ofType(goType).has("structType", "atomic")}
	for i := range goType.NumField() {
		fields, err := t.fieldsOf(goType, goType.Field(i))
		if err != nil {
			return fmt.Errorf("%s.%s: %w", name, goType.Field(i).Name, err)
		}
		m.Fields = append(m.Fields, fields...)
	}
	t.messages[name] = m
	return nil
}

// print writes one message a line, sorted, so that a new Kubernetes version reads well as a diff.
func (t *table) print(out *bufio.Writer) {
	fmt.Fprintln(out, `{"kinds":{`)
	printSorted(out, t.kinds)
	fmt.Fprintln(out, `},"messages":{`)
	printSorted(out, t.messages)
	fmt.Fprintln(out, `}}`)
}

func printSorted[V any](out *bufio.Writer, entries map[string]V) {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		line, err := json.Marshal(entries[name])
		if err != nil {
			log.Fatal(err)
		}
		comma := ","
		if i == len(names)-1 {
			comma = ""
		}
		fmt.Fprintf(out, "%q:%s%s\n", name, line, comma)
	}
}
