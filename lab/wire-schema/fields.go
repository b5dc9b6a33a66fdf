package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// special are the types with their own JSON or protobuf form.
var special = map[string]string{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":                                             "time",
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":                                        "microtime",
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":                                         "raw",
	"k8s.io/apimachinery/pkg/api/resource.Quantity":                                         "quantity",
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString":                                       "intorstring",
	"k8s.io/apimachinery/pkg/runtime.RawExtension":                                          "raw",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON":                         "raw",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray":       "schema-or-array",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool":        "schema-or-bool",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray": "schema-or-strings",
}

// messageName is the name OpenAPI documents give the type: io.k8s.api.core.v1.Pod.
func messageName(goType reflect.Type) string {
	path := strings.TrimPrefix(goType.PkgPath(), "k8s.io/")
	return "io.k8s." + strings.ReplaceAll(path, "/", ".") + "." + goType.Name()
}

// fieldsOf describes one struct field. TypeMeta, inlined without a protobuf number, becomes the
// two fields it stands for.
func (t *table) fieldsOf(owner reflect.Type, goField reflect.StructField) ([]field, error) {
	number, err := protobufNumber(goField.Tag.Get("protobuf"))
	if err != nil {
		return nil, err
	}
	name, options, _ := strings.Cut(goField.Tag.Get("json"), ",")
	inline := strings.Contains(options, "inline") || (goField.Anonymous && name == "")
	if name == "-" {
		return nil, nil
	}
	if inline && number == 0 {
		return t.typeMeta(goField.Type)
	}
	if name == "" && !inline {
		return nil, errors.New("no JSON name")
	}
	f := field{Name: name, Number: number, Inline: inline}
	f.Always = !inline && !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero")
	f.Patch = goField.Tag.Get("patchStrategy")
	f.Key = goField.Tag.Get("patchMergeKey")
	f.readMarkers(t.markers.ofField(owner, goField.Name))
	if err := t.describe(&f, goField.Type); err != nil {
		return nil, err
	}
	return []field{f}, nil
}

func (t *table) typeMeta(goType reflect.Type) ([]field, error) {
	if goType.Name() != "TypeMeta" {
		return nil, fmt.Errorf("%s is inlined and has no protobuf number", goType)
	}
	return []field{{Name: "kind", Type: "string"}, {Name: "apiVersion", Type: "string"}}, nil
}

func protobufNumber(tag string) (int, error) {
	if tag == "" || tag == "-" {
		return 0, nil
	}
	parts := strings.Split(tag, ",")
	if len(parts) < 2 {
		return 0, fmt.Errorf("protobuf tag %q", tag)
	}
	return strconv.Atoi(parts[1])
}

func (f *field) readMarkers(m markerSet) {
	f.List = m["listType"]
	if keys := m["listMapKey"]; keys != "" {
		f.Keys = strings.Split(keys, ",")
	}
	f.Atomic = m.has("mapType", "atomic") || m.has("structType", "atomic")
	if text := m["default"]; text != "" && json.Valid([]byte(text)) {
		f.Default = json.RawMessage(text)
	}
}

// describe fills in type, shape and pointer, and adds the messages the field refers to.
func (t *table) describe(f *field, goType reflect.Type) error {
	if goType.Kind() == reflect.Pointer {
		f.Pointer = true
		goType = goType.Elem()
	}
	element := goType
	switch {
	case special[qualified(goType)] != "":
	case goType.Kind() == reflect.Slice && goType.Elem().Kind() != reflect.Uint8:
		f.Shape, element = "list", goType.Elem()
	case goType.Kind() == reflect.Map:
		f.Shape, element = "map", goType.Elem()
	}
	if f.Shape != "" && element.Kind() == reflect.Pointer {
		return errors.New("pointer elements")
	}
	name, err := t.typeName(element)
	if err != nil {
		return err
	}
	f.Type = name
	f.Go = goSpelling(goType)
	return nil
}

func qualified(goType reflect.Type) string {
	return goType.PkgPath() + "." + goType.Name()
}

func (t *table) typeName(goType reflect.Type) (string, error) {
	if name := special[qualified(goType)]; name != "" {
		return name, nil
	}
	switch goType.Kind() {
	case reflect.Struct:
		return messageName(goType), t.addMessage(goType)
	case reflect.String, reflect.Bool, reflect.Int32, reflect.Int64, reflect.Float64:
		return goType.Kind().String(), nil
	case reflect.Slice:
		switch goType.Elem().Kind() {
		case reflect.Uint8:
			return "bytes", nil
		case reflect.String:
			return "strings", nil
		}
	}
	return "", fmt.Errorf("no word for %s", goType)
}

// goSpelling is how Go prints the type in an error where that does not follow from the rest.
func goSpelling(goType reflect.Type) string {
	text := goType.String()
	if goType.PkgPath() == "" && goType.Kind() != reflect.Slice && goType.Kind() != reflect.Map {
		return ""
	}
	return text
}
