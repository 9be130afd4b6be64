// Package cli implements the command line of testbed.
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

// Execute runs the command that the command line names.
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
		Short: "Run a real Kubernetes cluster on one Linux machine, without Docker",
		Long: "Run a real Kubernetes cluster on one Linux machine, without Docker.\n\n" +
			"The binary also contains these programs, which run as `testbed NAME`: " + strings.Join(component.Names(), ", ") + ".",
		SilenceUsage: true, SilenceErrors: true, DisableSuggestions: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	cmd.PersistentFlags().StringVar(&dir, "dir", ".testbed", "directory of the cluster's files; each directory is a separate cluster")
	cmd.AddCommand(up(open), down(open), status(open), logs(open), kubeconfig(open), loadImage(open))
	return cmd
}

// opener returns the instance that --dir names.
type opener func() (instance.Instance, error)

func up(open opener) *cobra.Command {
	options := cluster.Options{Mode: instance.Node}
	var controlPlaneOnly bool
	var auditLog string
	var plugins []string
	cmd := &cobra.Command{
		Use: "up", Short: "Start the cluster, or the components that do not run, and wait until all are ready", Args: cobra.NoArgs,
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
	flags.BoolVar(&controlPlaneOnly, "control-plane-only", false, "start no node, so that no pods run; does not need root")
	flags.StringVar(&auditLog, "audit-log", "", "log the metadata of all API requests to this file; kept for later starts until set to an empty name")
	flags.StringSliceVar(&plugins, "enable-admission-plugins", nil, "admission plugins to enable in addition to the defaults; kept for later starts until set again")
	flags.DurationVar(&options.Timeout, "timeout", 3*time.Minute, "how long to wait for each component to become ready")
	return cmd
}

func down(open opener) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop the cluster and remove everything it created", Args: cobra.NoArgs,
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
		Use: "status", Short: "Show the state of each component; fail if one is not ready", Args: cobra.NoArgs,
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
		Use: "logs [COMPONENT]", Short: "Print the log of one component, or of all", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := open()
			if err != nil {
				return err
			}
			name := strings.Join(args, "")
			return cluster.Logs(cmd.Context(), i, name, follow, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "keep printing what is appended")
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
