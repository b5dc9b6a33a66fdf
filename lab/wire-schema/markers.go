package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
)

// markerSet are the `+name=value` lines of one comment; values of a repeated name are joined by commas.
type markerSet map[string]string

func (m markerSet) has(name, value string) bool { return m[name] == value }

// markers reads comment markers from the source of the packages types come from.
type markers struct {
	packages map[string]map[string]markerSet
}

func newMarkers() *markers { return &markers{packages: map[string]map[string]markerSet{}} }

func (m *markers) ofType(goType reflect.Type) markerSet {
	return m.of(goType.PkgPath())[goType.Name()]
}

func (m *markers) ofField(owner reflect.Type, name string) markerSet {
	return m.of(owner.PkgPath())[owner.Name()+"."+name]
}

func (m *markers) of(path string) map[string]markerSet {
	if _, known := m.packages[path]; !known {
		m.packages[path] = readPackage(path)
	}
	return m.packages[path]
}

func readPackage(path string) map[string]markerSet {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		log.Fatalf("go list %s: %v", path, err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "*.go"))
	if err != nil {
		log.Fatal(err)
	}
	found := map[string]markerSet{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			log.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if declaration, ok := node.(*ast.GenDecl); ok {
				readDeclaration(declaration, found)
			}
			return true
		})
	}
	return found
}

func readDeclaration(declaration *ast.GenDecl, found map[string]markerSet) {
	for _, spec := range declaration.Specs {
		typeSpec, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		found[typeSpec.Name.Name] = parseMarkers(declaration.Doc, typeSpec.Doc)
		structType, ok := typeSpec.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, field := range structType.Fields.List {
			for _, name := range field.Names {
				found[typeSpec.Name.Name+"."+name.Name] = parseMarkers(field.Doc)
			}
		}
	}
}

func parseMarkers(comments ...*ast.CommentGroup) markerSet {
	set := markerSet{}
	for _, group := range comments {
		if group == nil {
			continue
		}
		for _, comment := range group.List {
			text := strings.TrimSpace(strings.TrimPrefix(comment.Text, "//"))
			name, value, found := strings.Cut(strings.TrimPrefix(text, "+"), "=")
			if !found || !strings.HasPrefix(text, "+") {
				continue
			}
			if old := set[name]; old != "" {
				value = old + "," + value
			}
			set[name] = value
		}
	}
	return set
}
