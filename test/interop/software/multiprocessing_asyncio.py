# Python with a multiprocessing pool at work and asyncio that talks to subprocesses through pipes.
import asyncio, multiprocessing, os, sys, time

scratch = sys.argv[1]


def publish(name, text):
    with open(f"{scratch}/.{name}", "w") as file:
        file.write(text)
    os.rename(f"{scratch}/.{name}", f"{scratch}/{name}")


def square(n):
    time.sleep(0.002)
    return n * n


async def subprocess_lines(state):
    cat = await asyncio.create_subprocess_exec("/bin/cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    while not state["stop"]:
        line = f"line {state['lines']}\n".encode()
        cat.stdin.write(line)
        await cat.stdin.drain()
        got = await cat.stdout.readline()
        assert got == line, f"{got!r} is not {line!r}"
        state["lines"] += 1
        await asyncio.sleep(0.002)
    cat.stdin.close()
    assert await cat.wait() == 0
    late = await asyncio.create_subprocess_exec("/bin/echo", "late", stdout=asyncio.subprocess.PIPE)
    assert (await late.communicate())[0] == b"late\n"


async def pool_results(state, pool):
    while not state["stop"]:
        job = pool.map_async(square, range(state["jobs"], state["jobs"] + 20))
        while not job.ready():
            await asyncio.sleep(0.002)
        assert job.get() == [n * n for n in range(state["jobs"], state["jobs"] + 20)]
        state["jobs"] += 20


async def main(pool):
    state = {"stop": False, "lines": 0, "jobs": 0}
    work = [asyncio.create_task(subprocess_lines(state)), asyncio.create_task(pool_results(state, pool))]
    await asyncio.sleep(0.4)
    publish("ready", "ready\n")
    while not os.path.exists(f"{scratch}/go"):
        await asyncio.sleep(0.01)
        for task in work:
            if task.done():
                task.result()
    before = dict(state)
    await asyncio.sleep(0.4)
    state["stop"] = True
    await asyncio.wait_for(asyncio.gather(*work), 15)
    assert state["lines"] > before["lines"] and state["jobs"] > before["jobs"], f"no progress: {state}"


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    pool = multiprocessing.Pool(3)
    try:
        asyncio.run(main(pool))
        pool.close()
        pool.join()
        publish("verdict", "PASS\n")
    except BaseException as error:
        publish("verdict", f"FAIL {error!r}\n")
        pool.terminate()
