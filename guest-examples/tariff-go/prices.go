package main

import (
	"fmt"
	"strings"

	"nephometer"
)

// The price of processor time, for each hour of the day.
type day [24]float64

// readPrices converts bands of hours to a price per hour, by project. It adds errors to the
// options.
func readPrices(options *nephometer.OptionReader) map[string]*day {
	prices := map[string]*day{}
	for _, project := range options.Keys() {
		prices[project] = readDay(options, project)
	}
	return prices
}

func readDay(options *nephometer.OptionReader, project string) *day {
	prices := new(day)
	var priced [24]bool
	for _, band := range options.Objects(project) {
		begin, hasBegin := band.Number("from")
		end, hasEnd := band.Number("to")
		price, hasPrice := band.Number("price")
		if !hasBegin || !hasEnd || !hasPrice {
			continue
		}
		if begin >= end {
			reason := "is not after from (%v); write a band over midnight as two"
			band.Refuse(fmt.Sprintf(reason, begin), "to")
			continue
		}
		for hour := int(begin); hour < int(end); hour++ {
			if priced[hour] {
				band.Refuse(fmt.Sprintf("hour %d already has a price", hour), "from")
				break
			}
			prices[hour], priced[hour] = price, true
		}
	}
	var missing []string
	for hour, known := range priced {
		if !known {
			missing = append(missing, fmt.Sprint(hour))
		}
	}
	if len(missing) > 0 {
		options.Refuse("no price for hours "+strings.Join(missing, ", "), project)
	}
	return prices
}
