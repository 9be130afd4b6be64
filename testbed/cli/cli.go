// Package cli is the command line of testbed.
package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"dask-operator/testbed/cluster"
	"dask-operator/testbed/component"
	"dask-operator/testbed/instance"
	"github.com/spf13/cobra"
)

// Execute carries out the verb of the command line.
func Execute() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return root().ExecuteContext(ctx)
}

func root() *cobra.Command {
	var dir string
	open := func() (instance.Instance, error) { return instance.Open(dir) }
	cmd := &cobra.Command{
		Use:   "testbed",
		Short: "A real Kubernetes on one Linux machine, without Docker",
		Long: "A real Kubernetes on one Linux machine, without Docker.\n\n" +
			"Besides its verbs it is each of these programs: " + strings.Join(component.Names(), ", ") + ".",
		SilenceUsage: true, SilenceErrors: true, DisableSuggestions: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	cmd.PersistentFlags().StringVar(&dir, "dir", ".testbed", "folder of the cluster's files")
	cmd.AddCommand(up(open), down(open), status(open), logs(open), kubeconfig(open), loadImage(open))
	return cmd
}

type opener func() (instance.Instance, error)

func up(open opener) *cobra.Command {
	options := cluster.Options{Mode: instance.Node}
	var controlPlaneOnly bool
	var auditLog string
	var plugins []string
	cmd := &cobra.Command{
		Use: "up", Short: "Start the cluster, or what is missing of it, and wait until it is ready", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := open()
			if err != nil {
				return err
			}
			if controlPlaneOnly {
				options.Mode = instance.ControlPlane
			}
			if cmd.Flags().Changed("audit-log") {
				if auditLog != "" {
					if auditLog, err = filepath.Abs(auditLog); err != nil {
						return err
					}
				}
				options.AuditLog = &auditLog
			}
			if cmd.Flags().Changed("enable-admission-plugins") {
				options.AdmissionPlugins = &plugins
			}
			return cluster.Up(cmd.Context(), i, options, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&controlPlaneOnly, "control-plane-only", false, "no node, so that no pod runs; needs no root")
	flags.StringVar(&auditLog, "audit-log", "", "log the metadata of all API requests to this file; stays until it is set to an empty name")
	flags.StringSliceVar(&plugins, "enable-admission-plugins", nil, "admission plugins besides the default ones; stay until they are set anew")
	flags.DurationVar(&options.Timeout, "timeout", 3*time.Minute, "how long each component may take to become ready")
	return cmd
}

func down(open opener) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop the cluster and remove everything that it made", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := open()
			if err != nil {
				return err
			}
			return cluster.Down(i, cmd.OutOrStdout())
		},
	}
}

func status(open opener) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Tell how each component does; fails if one is not ready", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := open()
			if err != nil {
				return err
			}
			return cluster.Status(cmd.Context(), i, cmd.OutOrStdout())
		},
	}
}

func logs(open opener) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "logs [COMPONENT]", Short: "Print the log of a component, or of all", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := open()
			if err != nil {
				return err
			}
			name := strings.Join(args, "")
			return cluster.Logs(cmd.Context(), i, name, follow, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is added")
	return cmd
}

func kubeconfig(open opener) *cobra.Command {
	return &cobra.Command{
		Use: "kubeconfig", Short: "Print the path of the administrator's kubeconfig", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := open()
			if err != nil {
				return err
			}
			if _, err := os.Stat(i.Kubeconfig()); err != nil {
				return fmt.Errorf("there is no cluster in %s; run `up` first", i.Dir)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), i.Kubeconfig())
			return err
		},
	}
}

func loadImage(open opener) *cobra.Command {
	return &cobra.Command{
		Use: "load-image FILE...", Short: "Import image archives (OCI or docker) into the node", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := open()
			if err != nil {
				return err
			}
			return cluster.LoadImages(cmd.Context(), i, args, cmd.OutOrStdout())
		},
	}
}
