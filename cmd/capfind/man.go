package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func (a *app) manCommand() *cli.Command {
	return &cli.Command{
		Name:  "man",
		Usage: "print the manual page",
		Action: func(c *cli.Context) error {
			text, err := c.App.ToManWithSection(1)
			if err != nil {
				return fmt.Errorf("the manual page could not be made: %w", err)
			}
			return a.print(text)
		},
	}
}
