package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A licence is named by its SPDX identifier.
type licence string

// The licences that a part of the binary may have. All allow use in a product
// under Apache-2.0 as long as their texts are passed on; MPL-2.0 besides wants
// changed files published, and none is changed here. FTL is one of the two that
// its module lets choose from, and CC-BY-4.0 wants the author named, which the
// page does.
const (
	apache2 licence = "Apache-2.0"
	ccBy4   licence = "CC-BY-4.0"
	ftl     licence = "FTL"
	bsd2    licence = "BSD-2-Clause"
	bsd3    licence = "BSD-3-Clause"
	isc     licence = "ISC"
	mit     licence = "MIT"
	mpl2    licence = "MPL-2.0"
)

// phrases identify a licence's text, in lower case and with single spaces.
// BSD's two are told apart by the clause on names.
var phrases = []struct {
	licence licence
	all     []string
}{
	{apache2, []string{"apache license", "version 2.0"}},
	{ccBy4, []string{"creative commons attribution 4.0 international public license"}},
	{ftl, []string{"your choice of exactly one of the following two licenses", "the freetype license"}},
	{isc, []string{"permission to use, copy, modify, and",
		"distribute this software for any purpose with or without fee is hereby granted"}},
	{mit, []string{"permission is hereby granted, free of charge, to any person obtaining a copy of this software",
		"the above copyright notice"}},
	{mpl2, []string{"mozilla public license", "version 2.0"}},
	{bsd2, []string{"redistributions of source code must retain", "redistributions in binary form must reproduce"}},
}

var bsdNames = regexp.MustCompile(`neither the names? of .* may be used to endorse`)

// classify names the licences whose texts it finds, in alphabetical order. A
// text may hold several, for parts of a module; none means unknown.
func classify(text string) []licence {
	plain := strings.ToLower(strings.Join(strings.Fields(text), " "))
	var found []licence
	for _, candidate := range phrases {
		if !containsAll(plain, candidate.all) {
			continue
		}
		if candidate.licence == bsd2 && bsdNames.MatchString(plain) {
			found = append(found, bsd3)
			continue
		}
		found = append(found, candidate.licence)
	}
	slices.Sort(found)
	return found
}

func containsAll(text string, phrases []string) bool {
	return !slices.ContainsFunc(phrases, func(phrase string) bool { return !strings.Contains(text, phrase) })
}

var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[sc]e|copying)(\.(md|txt))?$`)
	noticeFile  = regexp.MustCompile(`(?i)^notice(\.(md|txt))?$`)
)

// A document is a licence or a notice as it was found.
type document struct {
	licences []licence // None in a notice.
	text     string
}

// documents reads the licences and notices at the root of a module. No licence,
// or a text that is none of the allowed ones, is an error.
func documents(dir string) (licences, notices []document, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	var faults []error
	for _, entry := range entries {
		isLicence, isNotice := licenceFile.MatchString(entry.Name()), noticeFile.MatchString(entry.Name())
		if entry.IsDir() || !isLicence && !isNotice {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, nil, err
		}
		if isNotice {
			notices = append(notices, document{text: string(text)})
			continue
		}
		found := classify(string(text))
		if len(found) == 0 {
			faults = append(faults, fmt.Errorf("%s is none of the allowed licences", entry.Name()))
		}
		full := string(text)
		if slices.Contains(found, ftl) { // the file at the root only says where the text is
			text, err := os.ReadFile(filepath.Join(dir, "licenses", "ftl.txt"))
			if err != nil {
				return nil, nil, err
			}
			full += "\n" + string(text)
		}
		licences = append(licences, document{licences: found, text: full})
	}
	if len(licences) == 0 {
		faults = append(faults, errors.New("no licence"))
	}
	return licences, notices, errors.Join(faults...)
}
