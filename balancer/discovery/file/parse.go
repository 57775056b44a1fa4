package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/salgue441/velocity/balancer/discovery"
)

var errEmpty = errors.New("file is empty; write [] for no targets")

// Parse returns the targets in the text of a file. name is the file's, for its
// extension and for errors, which begin with name:line.
func Parse(name string, data []byte) ([]discovery.Target, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, fmt.Errorf("%s:1: %w", name, errEmpty)
	}
	parse := parseYAML
	if isJSON(name, data) {
		parse = parseJSON
	}
	var targets []discovery.Target
	line, err := parse(data, func(i item) (err error) {
		targets, err = i.appendTo(targets)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, line, err)
	}
	return targets, nil
}

func isJSON(name string, data []byte) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json":
		return true
	case ".yaml", ".yml":
		return false
	}
	first := bytes.TrimSpace(data)[0]
	return first == '[' || first == '{'
}

// parseJSON gives each item of the list to take, and returns the line of an error.
func parseJSON(data []byte, take func(item) error) (line int, err error) {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return jsonError(data, err)
	}
	// Once more, item by item: a decoder knows where it is.
	d := json.NewDecoder(bytes.NewReader(data))
	if token, _ := d.Token(); token != json.Delim('[') {
		return 1, errNoList
	}
	for d.More() {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return jsonError(data, err)
		}
		var i item
		err := decodeJSON(raw, &i)
		if err == nil {
			err = take(i)
		}
		if err != nil { // items are found by where they begin
			return lineAt(data, d.InputOffset()) - bytes.Count(raw, []byte("\n")), err
		}
	}
	return 0, nil
}

// jsonError is what is wrong with the text as a whole.
func jsonError(data []byte, err error) (line int, plain error) {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return lineAt(data, syntax.Offset), err
	}
	return 1, errNoList
}

func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(offset, int64(len(data)))], []byte("\n"))
}

var (
	errNoList = errors.New("expected a list of targets")
	errNoItem = errors.New("expected an address or an object")
	errMore   = errors.New("expected nothing after the list")
)

func decodeJSON(raw json.RawMessage, i *item) error {
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, &i.URL)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if raw[0] != '{' {
		return errNoItem
	}
	return d.Decode(i)
}

// parseYAML does the same for YAML.
func parseYAML(data []byte, take func(item) error) (line int, err error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return position(err)
	}
	var list *ast.SequenceNode
	for _, doc := range file.Docs {
		switch body := doc.Body.(type) {
		case nil, *ast.CommentGroupNode:
		case *ast.SequenceNode:
			if list != nil {
				return lineOfNode(body), errMore
			}
			list = body
		default:
			return lineOfNode(body), errNoList
		}
	}
	if list == nil {
		return 1, errEmpty
	}
	for _, node := range list.Values {
		var i item
		line, err := decodeYAML(node, &i)
		if err == nil {
			err = take(i)
		}
		if err != nil {
			return max(line, lineOfNode(node)), err
		}
	}
	return 0, nil
}

func decodeYAML(node ast.Node, i *item) (line int, err error) {
	switch node := node.(type) {
	case *ast.StringNode:
		i.URL = node.Value
		return 0, nil
	case *ast.MappingNode, *ast.MappingValueNode:
		if err := yaml.NodeToValue(node, i, yaml.Strict()); err != nil {
			return position(err)
		}
		return 0, nil
	}
	return 0, errNoItem
}

// position takes the line out of an error, whose text would repeat it with an
// excerpt of the file over several lines.
func position(err error) (line int, plain error) {
	var exact yaml.Error
	if !errors.As(err, &exact) {
		return 1, err
	}
	line = 1
	if token := exact.GetToken(); token != nil && token.Position != nil {
		line = token.Position.Line
	}
	return line, errors.New(exact.GetMessage())
}

func lineOfNode(node ast.Node) int {
	if token := node.GetToken(); token != nil && token.Position != nil {
		return token.Position.Line
	}
	return 1
}
