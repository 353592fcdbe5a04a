# A server of lines over TCP: "item N", "digest", "count" (how many were answered before). Holds some 40 MB of Python objects.
import hashlib
import os
import socketserver
import sys

scratch = sys.argv[1]
table = {f"key {n}": f"value {n * n} of {n}" * 4 for n in range(100_000)}
answered = 0


def answer(question):
    global answered
    answered += 1
    if question == "digest":
        digest = hashlib.sha256()
        for key in sorted(table):
            digest.update(f"{key}={table[key]}\n".encode())
        return digest.hexdigest()
    if question == "count":
        return str(answered)
    return table[f"key {question.split()[1]}"]


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(f"{answer(line.decode().strip())}\n".encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with Server(("127.0.0.1", 0), Handler) as server:
    with open(f"{scratch}/.ready", "w") as file:
        file.write(str(server.server_address[1]))
    os.rename(f"{scratch}/.ready", f"{scratch}/ready")
    server.serve_forever()
