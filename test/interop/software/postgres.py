# postgres with a client that moves money all the time, and another inside a transaction with a half-read cursor.
# criu: it takes the System V segment that postgres holds only together with a whole IPC namespace.
import os, pwd, shutil, signal, subprocess, sys

scratch = sys.argv[1]
programs = "/usr/lib/postgresql/15/bin"
accounts = 1000
user = pwd.getpwnam("postgres")
data = scratch + "/data"


def publish(name, text):
    with open(f"{scratch}/.{name}", "w") as file:
        file.write(text)
    os.rename(f"{scratch}/.{name}", f"{scratch}/{name}")


def start(*command, **more):
    return subprocess.Popen(command, user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd=data, text=True, **more)


class Client:
    """One psql, which answers a statement with its rows."""

    def __init__(self):
        command = [f"{programs}/psql", "-X", "-q", "-A", "-t", "-h", data, "-v", "ON_ERROR_STOP=1", "postgres"]
        self.process = start(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, statement):
        self.process.stdin.write(f"{statement};\n\\echo .\n")
        self.process.stdin.flush()
        rows = []
        while (line := self.process.stdout.readline()) != ".\n":
            if line == "":
                raise RuntimeError(f"psql ended in: {statement}")
            rows.append(line.strip())
        return rows

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


def transfer(client, n):
    """Moves one from an account to another, and notes it, all in one transaction."""
    source, target = n * 7 % accounts, (n * 13 + 1) % accounts
    client.ask("begin")
    client.ask(f"update account set balance = balance - 1 where id = {source}")
    client.ask(f"update account set balance = balance + 1 where id = {target}")
    client.ask(f"insert into history values ({n})")
    client.ask("commit")


def expect(what, found, wanted):
    if found != wanted:
        raise RuntimeError(f"{what} is {found}, not {wanted}")


def exercise(server):
    setter, client, reader = Client(), Client(), Client()
    setter.ask("create table account (id int primary key, balance int not null)")
    setter.ask("create table history (n int primary key)")
    setter.ask(f"insert into account select id, 100 from generate_series(0, {accounts - 1}) id")
    reader.ask("begin isolation level repeatable read")
    reader.ask("declare half cursor for select id from account order by id")
    expect("the cursor's first row", reader.ask("fetch 1 from half"), ["0"])
    reader.ask("insert into account values (-1, 0)")
    done = 0
    while not os.path.exists(scratch + "/go"):
        transfer(client, done)
        done += 1
        if done == 100:
            publish("ready", "ready\n")
    for _ in range(100):
        transfer(client, done)
        done += 1
    rows = [str(id) for id in range(1, accounts)]
    expect("the rest of the cursor", reader.ask(f"fetch {2 * accounts} from half"), rows)
    expect("the sum before", reader.ask("select sum(balance), count(*) from account"), [f"{accounts * 100}|{accounts + 1}"])
    expect("the history before", reader.ask("select count(*) from history"), ["0"])
    reader.ask("commit")
    setter.ask("checkpoint")
    setter.ask("vacuum analyze account")
    fresh = Client()
    expect("the sum", fresh.ask("select sum(balance), count(*) from account"), [f"{accounts * 100}|{accounts + 1}"])
    expect("the history", fresh.ask("select count(*), max(n) from history"), [f"{done}|{done - 1}"])
    for one in (setter, client, reader, fresh):
        expect("the end of a client", one.close(), 0)
    server.send_signal(signal.SIGINT)
    expect("the end of the server", server.wait(), 0)


server = None
try:
    os.mkdir(data, 0o700)
    os.chown(data, user.pw_uid, user.pw_gid)
    made = start(f"{programs}/initdb", "-D", data, "-A", "trust", "-N", stdout=subprocess.DEVNULL)
    expect("initdb's end", made.wait(), 0)
    settings = ["listen_addresses=", f"unix_socket_directories={data}", "autovacuum_naptime=1s", "shared_buffers=16MB"]
    settings.append("huge_pages=off")  # it takes some where a machine has them, and a dump refuses them
    server = start(f"{programs}/postgres", "-D", data, *[word for one in settings for word in ("-c", one)])
    ready = f"{programs}/pg_isready"
    while subprocess.run([ready, "-q", "-h", data]).returncode != 0:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}")
    exercise(server)
    publish("verdict", "PASS\n")
except Exception as error:
    if server is not None and server.poll() is None:
        server.send_signal(signal.SIGQUIT)
        server.wait()
    publish("verdict", f"FAIL {error}\n")
finally:
    shutil.rmtree(data, ignore_errors=True)
