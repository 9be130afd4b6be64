"""A shell and a Python session that commands are typed into, one after the other."""

import os
import signal
import subprocess
import sys
import tempfile
import threading

MARK = "--- end of the command, exit code "
# Reads blocks of code up to the mark, and runs them in one namespace.
SESSION = f"""
import sys, traceback
scope, lines = {{"__name__": "__main__"}}, []
for line in sys.stdin:
    if line.strip() != "{MARK.strip()}":
        lines.append(line)
        continue
    code = 0
    try:
        exec(compile("".join(lines), "<page>", "exec"), scope)
    except BaseException:
        traceback.print_exc()
        code = 1
    lines.clear()
    print(f"\\n{MARK}{{code}}", flush=True)
"""
LONGEST = 240  # seconds for a command


class Session:
    """A process that is sent text, and prints the mark after it has run it."""

    def __init__(self, command, folder, environment):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            start_new_session=True,
        )

    def send(self, text):
        """Sends `text` and returns what it printed, and the exit code. -1 means that the process has ended."""
        timer = threading.Timer(LONGEST, self.kill)
        timer.start()
        try:
            self.process.stdin.write(text)
            self.process.stdin.flush()
            return self._read()
        except BrokenPipeError:
            return "", -1
        finally:
            timer.cancel()

    def _read(self):
        lines = []
        for line in self.process.stdout:
            if line.startswith(MARK):
                # A newline was added, because output may lack one at its end.
                printed = "".join(lines)[:-1]
                return printed if not printed or printed.endswith("\n") else printed + "\n", int(line[len(MARK) :])
            lines.append(line)
        return "".join(lines), -1

    def said(self):
        """Returns the last lines of standard error."""
        self.errors.seek(0)
        return "".join(self.errors.readlines()[-40:])

    def kill(self, number=signal.SIGKILL):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def close(self):
        self.kill(signal.SIGTERM)
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


class Shell(Session):
    def __init__(self, folder, environment):
        super().__init__(["bash"], folder, environment)

    def run(self, command):
        return self.send(f'{command}\ncode=$?; echo; echo "{MARK}$code"\n')


class Python(Session):
    def __init__(self, program, folder, environment):
        super().__init__([program or sys.executable, "-u", "-c", SESSION], folder, environment)

    def run(self, code):
        return self.send(f"{code}\n{MARK}\n")
