package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
)

// TestPageIsCurrent compares THIRD_PARTY_NOTICES.md with what is linked today.
func TestPageIsCurrent(t *testing.T) {
	t.Parallel()
	want, err := generate(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../THIRD_PARTY_NOTICES.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("THIRD_PARTY_NOTICES.md is not what is linked: run \"go run ./tools/notices\" (-page +linked)\n%s",
			cmp.Diff(strings.Split(string(got), "\n"), strings.Split(want, "\n")))
	}
}

func TestPageNamesWhatIsLinked(t *testing.T) {
	t.Parallel()
	linked, err := linkedModules(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../THIRD_PARTY_NOTICES.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"github.com/gin-gonic/gin", "google.golang.org/grpc", "github.com/redis/go-redis/v9"} {
		if !strings.Contains(string(page), "| "+path+" | v") {
			t.Errorf("the page does not list %s, which the program is built on", path)
		}
	}
	for _, m := range linked {
		if m.Path == "github.com/agiqa/agiqa" || m.Dir == "" {
			t.Errorf("linked module %+v: want a module of others, in the module cache", m)
		}
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	const (
		mitText = "MIT License\n\nCopyright (c) 2021 X\n\nPermission is hereby granted, free of charge, to any person " +
			"obtaining\n" +
			"a copy of this software and associated documentation files\n\nThe above copyright notice and this permission " +
			"notice shall be included"
		bsdText = "Redistributions of source code must retain the above\ncopyright notice. Redistributions in binary form " +
			"must reproduce the above"
		names = "\nNeither the name of the X nor the names of its contributors may be used to endorse or promote products"
	)
	tests := []struct {
		name, text string
		want       []licence
	}{
		{"apache", "Apache License\n   Version 2.0, January 2004", []licence{apache2}},
		{"mit, broken over lines", mitText, []licence{mit}},
		{"bsd without the clause on names", bsdText, []licence{bsd2}},
		{"bsd with it", bsdText + names, []licence{bsd3}},
		{"isc", "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is " +
			"hereby granted", []licence{isc}},
		{"mpl", "Mozilla Public License Version 2.0", []licence{mpl2}},
		{"creative commons", "Creative Commons Attribution 4.0 International Public License", []licence{ccBy4}},
		{"creative commons that forbids trade", "Creative Commons Attribution-NonCommercial 4.0 International Public License",
			nil},
		{"freetype or gpl", "Use is subject to your choice of exactly one of the\nfollowing two licenses: * The FreeType " +
			"License, or * The GNU General Public License", []licence{ftl}},
		{"two in one file", mitText + "\nApache License, Version 2.0", []licence{apache2, mit}},
		{"gpl", "GNU GENERAL PUBLIC LICENSE Version 3, 29 June 2007", nil},
		{"all rights reserved", "Copyright 2026 X. All rights reserved.", nil},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, classify(tt.text)); diff != "" {
				t.Errorf("classify (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	const isApache = "Apache License Version 2.0"
	tests := []struct {
		name    string
		files   map[string]string
		want    []licence
		notices int
		fault   string
	}{
		{"licence and notice", map[string]string{"LICENSE": isApache, "NOTICE.txt": "X", "README.md": "MIT"},
			[]licence{apache2}, 1, ""},
		{"other spellings", map[string]string{"licence.MD": isApache}, []licence{apache2}, 0, ""},
		{"none", map[string]string{"README.md": isApache}, nil, 0, "no licence"},
		{"not allowed", map[string]string{"COPYING": "GNU General Public License"}, nil, 0,
			"COPYING is none of the allowed licences"},
		{"a text elsewhere", map[string]string{"LICENSE": "your choice of exactly one of the following two licenses: the " +
			"freetype license", "licenses/ftl.txt": "FTL"}, []licence{ftl}, 0, ""},
		{"one of two not allowed", map[string]string{"LICENSE": isApache, "COPYING": "?"},
			[]licence{apache2}, 0, "COPYING is none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range tt.files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			licences, notices, err := documents(dir)
			if tt.fault == "" && err != nil || tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)) {
				t.Fatalf("error = %v, want %q", err, tt.fault)
			}
			if diff := cmp.Diff(tt.want, work{licences: licences}.names()); diff != "" && tt.want != nil {
				t.Errorf("licences (-want +got):\n%s", diff)
			}
			if len(notices) != tt.notices {
				t.Errorf("%d notices, want %d", len(notices), tt.notices)
			}
		})
	}
}

func TestModuleFormat(t *testing.T) {
	t.Parallel()
	type module struct {
		Path, Version, Dir string
		Main               bool
		Replace            *module
	}
	format := template.Must(template.New("").Parse(moduleFormat))
	for name, tt := range map[string]struct {
		module *module
		want   string
	}{
		"standard library": {nil, ""},
		"this project":     {&module{Path: "m", Main: true, Dir: "/m"}, ""},
		"linked":           {&module{Path: "z.org/z", Version: "v1.0.0", Dir: "/z"}, "z.org/z\tv1.0.0\t/z"},
		"replaced": {&module{Path: "a.org/a", Replace: &module{Path: "b.org/a", Version: "v2.0.0", Dir: "/b"}},
			"b.org/a\tv2.0.0\t/b"},
	} {
		var got strings.Builder
		if err := format.Execute(&got, struct{ Module *module }{tt.module}); err != nil || got.String() != tt.want {
			t.Errorf("%s: %q, error %v; want %q", name, got.String(), err, tt.want)
		}
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	const lock = "numpy==1.26.4 \\\n    --hash=sha256:00\nnumpy-quaternion==9.9\nonnxruntime==1.23.2 ; python_version " +
		"< \"3.11\" \\\nonnxruntime==1.32.0 ; python_version >= \"3.11\"\n"
	for name, want := range map[string][]string{
		"numpy":       {"1.26.4"},
		"onnxruntime": {"1.23.2", "1.32.0"},
		"torch":       nil,
	} {
		if diff := cmp.Diff(want, locked(lock, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	isMIT := document{licences: []licence{mit}, text: "MIT of X\r\n"}
	page := render([]work{
		{name: "a.org/a", version: "v1", licences: []document{{licences: []licence{apache2}, text: "APACHE TEXT"}},
			notices: []document{{text: "A's notice"}}},
		{name: "b.org/b", version: "v2", licences: []document{isMIT}},
	}, []component{
		{name: "C", version: "3", licence: mit, use: "beside", texts: []document{{licences: []licence{mit}, text: "MIT of X"},
			{licences: []licence{mit}, text: "has ``` inside"}}},
	})
	for _, want := range []string{
		"| a.org/a | v1 | Apache-2.0 |\n| b.org/b | v2 | MIT |\n",
		"| C | 3 | MIT | beside |\n",
		"### b.org/b, C\n\n```text\nMIT of X\n```\n", // Equal but for the line's end: once.
		"### C\n\n````text\nhas ``` inside\n````\n",
		"### NOTICE of a.org/a\n\n```text\nA's notice\n```\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "APACHE TEXT") {
		t.Error("the Apache License is repeated")
	}
}

// TestSwaggerUIVersion asks swgui's own README for the version that
// components.go names.
func TestSwaggerUIVersion(t *testing.T) {
	t.Parallel()
	dir, err := goOutput(t.Context(), "../..", "list", "-m", "-f", "{{.Dir}}", "github.com/swaggest/swgui")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "UI [v" + swguiSwaggerUI + "]"; !strings.Contains(string(readme), want) {
		t.Errorf("swgui's README does not say %q", want)
	}
}
