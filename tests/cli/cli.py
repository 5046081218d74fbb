#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The command line and QMP, from outside and without Xen: cli.py PROGRAM prints TAP.

Each case runs in a directory of its own and must leave it as it was. A case that should end has LIMIT_S seconds for it;
nothing here waits for time to pass.
"""
import json
import os
import shutil
import select
import signal
import socket
import subprocess
import sys
import tempfile

from bad_lines import BAD_LINES
from bad_qmp import FRESH, READY

LIMIT_S = 30
PROGRAM = os.path.abspath(sys.argv[1])

results = []


def check(condition, why):
    if not condition:
        raise AssertionError(why)


class Place:
    """A directory with the files that the cases name; it must look the same afterwards."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix='xenpvh-cli-')
        with open(os.path.join(self.path, 'text'), 'w') as f:
            f.write('hello\n')
        with open(os.path.join(self.path, 'disk.img'), 'w') as f:
            f.truncate(1 << 20)
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.join(self.path, 'sock'))
        self.before = self.look()
        return self

    def look(self):
        return {n: (os.lstat(os.path.join(self.path, n)).st_ino, os.lstat(os.path.join(self.path, n)).st_size)
                for n in sorted(os.listdir(self.path))}

    def __exit__(self, kind, *_):
        after = self.look()
        shutil.rmtree(self.path)
        if kind is None:
            check(after == self.before, f'left behind or changed: {set(after.items()) ^ set(self.before.items())}')


def run(args, place):
    p = subprocess.run([PROGRAM, *args], cwd=place.path, stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=LIMIT_S)
    return p.returncode, p.stdout.decode(errors='replace'), p.stderr.decode(errors='replace')


def one_bad_line(args, want):
    with Place() as place:
        status, out, errors = run(args, place)
    lines = errors.splitlines()
    check(len(lines) == 1, f'{len(lines)} lines instead of one: {errors!r}')
    check(lines[0].startswith('xenpvh: '), f'no "xenpvh: " before {lines[0]!r}')
    check(want in lines[0], f'{want!r} is not in {lines[0]!r}')
    check(status == 1, f'exit status {status}')
    check(out == '', f'on stdout: {out!r}')


def case(name, fn, *args):
    try:
        fn(*args)
        print(f'ok {len(results) + 1} - {name}', flush=True)
        results.append(True)
    except (AssertionError, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as e:
        print(f'not ok {len(results) + 1} - {name}\n#  {type(e).__name__}: {e}', flush=True)
        results.append(False)


# --- good lines ---

HELP = ['-h', '-help', '--help', '-version', '-machine help', '-M help', '-machine xenpvh,help', '-device help',
        '-device ?', '-device virtio-blk-pci,help', '-device virtio-net,help', '-device driver=virtio-rng-pci,help',
        '-drive help', '-blockdev help', '-netdev help', '-netdev tap,help', '-fsdev help', '-virtfs help', '-device virtio-9p,help', '-object help', '-object rng-random,help', '-object iothread,help',
        '-chardev help', '-chardev socket,help', '-chardev pty,help', '-mon help', '-trace help', '-smp help', '-accel help', '-xen-domid 1 -device help', '-device help -nosuch']


def help_text(line):
    with Place() as place:
        status, out, errors = run(line.split(), place)
    check((status, errors) == (0, ''), f'exit status {status}, on stderr {errors!r}')
    check(len(out.strip()) > 10, f'no text: {out!r}')


# --- QMP ---

class Monitor:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(LIMIT_S)
        self.s.connect(path)
        self.f = self.s.makefile('rb')

    def line(self):
        line = self.f.readline()
        check(line == b'' or line.endswith(b'\r\n'), f'no CR LF at the end of {line!r}')
        return line

    def next(self):
        line = self.line()
        check(line != b'', 'the connection was closed')
        return json.loads(line)

    def send(self, data):
        self.s.sendall(data if isinstance(data, bytes) else data.encode())

    def ask(self, name, /, **args):
        self.send(json.dumps({'execute': name, 'arguments': args} if args else {'execute': name}))
        return self.next()

    def negotiate(self):
        self.greeting = self.next()
        check('QMP' in self.greeting, f'no greeting: {self.greeting}')
        check(self.ask('qmp_capabilities') == {'return': {}}, 'negotiation failed')
        return self

    def close(self):
        self.f.close()
        self.s.close()


class Program:
    """The program with two monitors, `a` and `b`, in `place`. Ends by `quit` unless it ended by itself."""

    def __init__(self, place, *args):
        self.place = place
        self.p = subprocess.Popen([PROGRAM, *(args or ('-machine', 'none')), '-qmp', 'unix:a,server=on,wait=off',
                                   '-chardev', 'socket,id=b,path=b,server=on,wait=off', '-mon', 'b',
                                   '-chardev', 'null,id=n'],
                                  cwd=place.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        self.wait_for_socket('b')

    def wait_for_socket(self, name):
        # The last thing before it listens is the bind; connect() tells.
        while self.p.poll() is None:
            try:
                Monitor(os.path.join(self.place.path, name)).close()
                return
            except OSError:
                os.sched_yield()
        raise AssertionError(f'ended with {self.p.returncode}: {self.p.stderr.read()!r}')

    def monitor(self, name='a'):
        return Monitor(os.path.join(self.place.path, name))

    def ended(self, status=0):
        out, errors = self.p.communicate(timeout=LIMIT_S)
        check((self.p.returncode, out, errors) == (status, b'', b''),
              f'exit status {self.p.returncode}, stdout {out!r}, stderr {errors!r}')

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.p.poll() is None and kind is None:
            m = self.monitor('b').negotiate()
            m.ask('quit')
            m.close()
            self.ended()
        elif self.p.poll() is None:
            self.p.kill()
            self.p.communicate()
        for name in 'ab':
            path = os.path.join(self.place.path, name)
            if os.path.exists(path):
                os.unlink(path)


def bad_inputs(program, cases, negotiated):
    """Each gets its error, and the same connection serves on."""
    for data, kind, want in cases:
        def one(data=data, kind=kind, want=want):
            m = program.monitor()
            if negotiated:
                m.negotiate()
            else:
                m.next()
            m.send(data)
            m.send('\n')
            reply = m.next()
            check('error' in reply, f'no error: {reply}')
            check(reply['error']['class'] == kind, f'{reply}')
            check(want in reply['error']['desc'], f'{want!r} is not in {reply}')
            # More errors may follow; then the connection is as good as new.
            m.send('\n{"execute": "query-name", "id": "alive"}' if negotiated else
                   '\n{"execute": "qmp_capabilities", "id": "alive"}')
            while reply.get('id') != 'alive':
                reply = m.next()
            check(reply == {'return': {}, 'id': 'alive'}, f'afterwards: {reply}')
            m.close()
        text = data if isinstance(data, str) else repr(data)
        case('QMP: ' + (text if len(text) < 70 else text[:60] + '...'), one)


def ids(program):
    m = program.monitor().negotiate()
    for i in [0, -1, 2 ** 63 - 1, 1.5, '', 'x"\\\n\u00e4', True, None, [], {}, [1, {'a': [None]}]]:
        m.send(json.dumps({'execute': 'query-name', 'id': i}))
        check(m.next() == {'return': {}, 'id': i}, f'id {i!r}')
        m.send(json.dumps({'id': i, 'execute': 'nosuch'}))
        reply = m.next()
        check(list(reply) == ['id', 'error'] and reply['id'] == i, f'id {i!r}: {reply}')
    m.close()


def pieces(program):
    """Byte by byte, back to back, without blanks, with single quotes."""
    m = program.monitor().negotiate()
    for byte in b'{"execute":"query-name","id":1}':
        m.send(bytes([byte]))
    check(m.next() == {'return': {}, 'id': 1}, 'byte by byte')
    m.send("{'execute':'query-name','id':2}{\"execute\":\"query-name\",\"id\":3} \r\n\t {'execute'\n:'query-name','id':4}")
    check([m.next()['id'] for _ in range(3)] == [2, 3, 4], 'back to back')
    m.close()


def raw_form(program):
    """What parsers by hand (libxl's, libxenstat's) rely on."""
    m = program.monitor()
    line = m.line()
    check(line.startswith(b'{"QMP": {"version": {"qemu": {"micro": '), f'{line!r}')
    check(line.endswith(b', "capabilities": []}}\r\n'), f'{line!r}')
    m.send('{"execute":"qmp_capabilities"}')
    check(m.line() == b'{"return": {}}\r\n', 'capabilities')
    m.send('{"execute":"query-status","id":2020372737}')
    check(m.line() == b'{"return": {"status": "prelaunch", "running": false}, "id": 2020372737}\r\n', 'status')
    m.close()


def pretty(place):
    with Program(place, '-machine', 'none', '-chardev', 'socket,id=p,path=p,server=on,wait=off', '-mon', 'p,pretty=on') as program:
        m = program.monitor('p')
        check(m.f.readline() == b'{\n', 'no line break')
        text = b'{\n'
        while not text.endswith(b'\n}\r\n'):
            text += m.f.readline()
        check('QMP' in json.loads(text), f'{text!r}')
        m.close()
        os.unlink(os.path.join(place.path, 'p'))


def one_client_at_a_time(program):
    """The second is served when the first has gone, and from the start."""
    first = program.monitor().negotiate()
    second = program.monitor()
    check(first.ask('query-name') == {'return': {}}, 'the first')
    second.s.setblocking(False)
    try:
        second.s.recv(1)
        raise AssertionError('the second was greeted')
    except BlockingIOError:
        second.s.settimeout(LIMIT_S)
    first.send('{"execute": "que')
    first.close()
    check('QMP' in second.next(), 'no greeting')
    check(second.ask('query-name')['error']['class'] == 'CommandNotFound', 'the negotiation was inherited')
    second.close()


def events(program):
    """To all that have negotiated, to no other; before the reply to the command."""
    a, b = program.monitor('a').negotiate(), program.monitor('b')
    b.next()
    a.send('{"execute": "cont", "id": 1}')
    event = a.next()
    check(list(event) == ['timestamp', 'event'] and event['event'] == 'RESUME', f'{event}')
    check(list(event['timestamp']) == ['seconds', 'microseconds'], f'{event}')
    check(a.next() == {'return': {}, 'id': 1}, 'the reply')
    check(b.ask('qmp_capabilities') == {'return': {}}, 'an event before the negotiation')
    check(b.ask('query-status') == {'return': {'status': 'running', 'running': True}}, 'status')
    a.close()
    b.close()


def queries(program):
    m = program.monitor().negotiate()
    names = [c['name'] for c in m.ask('query-commands')['return']]
    check(len(names) == len(set(names)) and 'query-pci' in names, f'{names}')
    need = {'device-list-properties': {'typename': 'virtio-blk-pci'},
            'human-monitor-command': {'command-line': 'info version'},
            'trace-event-get-state': {'name': '*'},
            'trace-event-set-state': {'name': 'queue_*', 'enable': True},
            'announce-self': {'initial': 50, 'max': 500, 'rounds': 5, 'step': 100}}
    fails = {'qmp_capabilities', 'change-vnc-password', 'set_link', 'quit', 'stop', 'cont', 'ringbuf-write', 'ringbuf-read',
             'chardev-send-break', 'device_add', 'device_del',
             'balloon', 'query-balloon', 'qom-get', 'qom-set'}
    for name in set(names) - fails:
        reply = m.ask(name, **need.get(name, {}))
        check('return' in reply, f'{name}: {reply}')
    options = {o['option']: {p['name'] for p in o['parameters']}
               for o in m.ask('query-command-line-options')['return']}
    check({'chroot', 'user', 'async-teardown'} <= options['run-with'], f'{options}')
    check({'smp-opts', 'machine', 'chardev', 'mon', 'name'} <= set(options), f'{options}')
    check(len(m.ask('query-command-line-options', option='run-with')['return']) == 1, 'one group')
    types = {t['name'] for t in m.ask('qom-list-types', implements='device')['return']}
    check({'virtio-blk-pci', 'virtio-net-pci', 'virtio-rng-pci', 'edu'} <= types and 'rng-random' not in types, f'{types}')
    props = {p['name'] for p in m.ask('device-list-properties', typename='virtio-blk-pci')['return']}
    check({'id', 'addr', 'drive', 'num-queues'} <= props, f'{props}')
    chardevs = {c['label']: c for c in m.ask('query-chardev')['return']}
    check(chardevs['n'] == {'label': 'n', 'filename': 'null', 'frontend-open': False}, f'{chardevs}')
    check(chardevs['b']['filename'].startswith('disconnected:unix:/') and
          chardevs['b']['filename'].endswith('/b,server=on'), f'{chardevs}')
    check(m.ask('trace-event-get-state', name='queue_enable')['return'] == [{'name': 'queue_enable', 'state': 'enabled'}], 'trace')
    check('error' in m.ask('trace-event-get-state', name='nosuch'), 'trace of no event')
    check(m.ask('query-vnc') == {'return': {'enabled': False}}, 'vnc')
    check(m.ask('query-target') == {'return': {'arch': 'i386'}}, 'target')
    for line, want in [('info status', 'VM status: '), ('info nosuch', "unknown command: 'info nosuch'\r\n"),
                       ('', ''), ('help', 'info balloon -- '), ('info', 'info balloon -- '), ('x' * 5000, 'unknown command'),
                       ('info version', '10.0.')]:
        reply = m.ask('human-monitor-command', **{'command-line': line})['return']
        check(reply.startswith(want), f'{line[:20]!r}: {reply!r}')
    m.close()


def memory_kib(program):
    with open(f'/proc/{program.p.pid}/status') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('VmRSS:'))


def client_that_does_not_read(program):
    """It is not read from either, so it cannot make the program grow; and no command is lost."""
    m = program.monitor().negotiate()
    one = b'{"execute": "query-command-line-options"}'
    before = memory_kib(program)
    m.s.setblocking(False)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += m.s.send(one * 100)
    except BlockingIOError:
        pass
    other = program.monitor('b').negotiate()
    check(other.ask('query-name') == {'return': {}}, 'the other monitor')
    other.close()
    grown = memory_kib(program) - before
    check(sent < 64 << 20, 'everything was read')
    check(grown < 8192, f'grew by {grown} KiB')
    m.s.settimeout(LIMIT_S)
    replies = sent // len(one)
    for n in range(replies):
        check('return' in m.next(), f'reply {n} of {replies}')
    m.close()


def end_by_quit(place):
    """An ordinary run takes its sockets away; every monitor hears why it ends."""
    program = Program(place, '-accel', 'qtest', '-device', 'virtio-rng-pci,id=r', '-name', 'g0')
    a, b = program.monitor('a').negotiate(), program.monitor('b').negotiate()
    check(a.ask('query-status') == {'return': {'status': 'running', 'running': True}}, 'status')
    check(a.ask('query-name') == {'return': {'name': 'g0'}}, 'name')
    functions = a.ask('query-pci')['return'][0]['devices']
    check([f['id']['vendor'] for f in functions] == [0x1b36, 0x1af4], f'{functions}')
    check(functions[1]['qdev_id'] == 'r' and functions[1]['slot'] == 1, f'{functions}')
    check(all(r['address'] == -1 for r in functions[1]['regions']), f'{functions}')
    for command, event, status in [('stop', 'STOP', 'paused'), ('cont', 'RESUME', 'running')]:
        check(a.ask(command)['event'] == event, command)
        check(a.next() == {'return': {}}, command)
        check(b.next()['event'] == event, command)
        check(a.ask('query-status')['return']['status'] == status, command)
    event = a.ask('quit')
    check((event['event'], event['data']) == ('SHUTDOWN', {'guest': False, 'reason': 'host-qmp-quit'}), f'{event}')
    check(a.next() == {'return': {}}, 'the reply to quit')
    check(b.next()['event'] == 'SHUTDOWN', 'the other monitor')
    check(a.line() == b'' and b.line() == b'', 'the end')
    program.ended()
    for m in (a, b):
        m.close()


def back_ends(place):
    """What QMP says of disks and nets, by name and by the devices that use them."""
    program = Program(place, '-accel', 'qtest', '-drive', 'if=none,id=d0,file=disk.img,format=raw,read-only=on',
                      '-blockdev', 'null-co,node-name=n0,size=1M', '-device', 'virtio-blk-pci,drive=d0,id=blk0',
                      '-device', 'virtio-blk-pci,drive=n0', '-netdev',
                      'dgram,id=net0,local.type=unix,local.path=l,remote.type=unix,remote.path=r', '-device',
                      'virtio-net-pci,netdev=net0,id=nic0,mac=00:16:3e:5c:81:78')
    m = program.monitor().negotiate()
    disks = {d['inserted']['node-name']: d for d in m.ask('query-block')['return']}
    d0 = next(d for d in disks.values() if d['device'] == 'd0')
    check(d0['qdev'] == '/machine/peripheral/blk0/virtio-backend', f'{d0}')
    check(d0['inserted']['file'] == os.path.join(place.path, 'disk.img') and d0['inserted']['ro'], f'{d0}')
    check(d0['inserted']['image']['virtual-size'] == 1 << 20, f'{d0}')
    check(disks['n0']['qdev'] == '/machine/peripheral-anon/device[0]/virtio-backend', f'{disks}')
    check(disks['n0']['inserted']['drv'] == 'null-co', f'{disks}')
    nodes = {n['node-name'] for n in m.ask('query-named-block-nodes')['return']}
    check(set(disks) <= nodes, f'{nodes}')
    for s in m.ask('query-blockstats')['return']:
        numbers = [s['stats'][k] for k in ('rd_bytes', 'wr_bytes', 'rd_operations', 'wr_operations', 'flush_operations')]
        check(s['node-name'] in disks and numbers == [0] * 5, f'{s}')
    filters = m.ask('query-rx-filter', name='nic0')['return']
    check([f['main-mac'] for f in filters] == ['00:16:3e:5c:81:78'], f'{filters}')
    check(m.ask('query-rx-filter')['return'] == filters, 'all of them')
    check('error' in m.ask('query-rx-filter', name='blk0'), 'a disk has no filter')
    for name in ('nic0', 'net0'):
        for up in (False, True):
            check(m.ask('set_link', name=name, up=up) == {'return': {}}, f'set_link {name}')
    check(m.ask('set_link', name='blk0', up=True)['error']['class'] == 'DeviceNotFound', 'a disk has no link')
    check([c['cpu-index'] for c in m.ask('query-cpus-fast')['return']] == [0], 'vCPUs')
    for topic, want in [('block', 'd0 ('), ('block', 'read-only'), ('pci', '1af4:1041'), ('qtree', 'dev: virtio-net-pci, id "nic0"'),
                        ('chardev', 'filename=unix:/')]:
        text = m.ask('human-monitor-command', **{'command-line': 'info ' + topic})['return']
        check(want in text, f'info {topic}: {text!r}')
    m.ask('quit')
    m.close()
    program.ended()


def end_by_signal(place, number):
    program = Program(place, '-accel', 'qtest')
    m = program.monitor().negotiate()
    program.p.send_signal(number)
    event = m.next()
    check((event['event'], event['data']['reason']) == ('SHUTDOWN', 'host-signal'), f'{event}')
    program.ended()
    m.close()


def probe(place):
    """What libxl does before each start: it listens, connects, and passes the listening socket."""
    path = os.path.join(place.path, 'qmp-libxl-1')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        listener.set_inheritable(True)
        m = Monitor(path)
        fd = listener.fileno()
        p = subprocess.Popen([PROGRAM, '-S', '-no-user-config', '-nodefaults', '-nographic', '-machine',
                              'none,accel=xen', '-chardev', f'socket,id=libxl-cmd,fd={fd},server=on,wait=off', '-mon',
                              'chardev=libxl-cmd,mode=control'], cwd=place.path, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[fd])
    check('QMP' in m.next(), 'greeting')
    m.send('{"execute":"qmp_capabilities","id":2020372736}\r\n')
    check(m.next() == {'return': {}, 'id': 2020372736}, 'capabilities')
    m.send('{"execute":"query-command-line-options","id":2020372737}\r\n')
    reply = m.next()
    groups = {o['option']: [p['name'] for p in o['parameters']] for o in reply['return']}
    check(reply['id'] == 2020372737 and {'chroot', 'user'} <= set(groups['run-with']), f'{reply}')
    m.send('{"execute":"query-status","id":3}\r\n')
    check(m.next()['return']['status'] == 'prelaunch', 'status')
    m.send('{"execute":"quit","id":2020372738}\r\n')
    check(m.next()['event'] == 'SHUTDOWN', 'event')
    check(m.next() == {'return': {}, 'id': 2020372738}, 'quit')
    # libxl takes it for an error when the connection closes together with this reply.
    hung_up = select.poll()
    hung_up.register(m.s, select.POLLHUP)
    check(not hung_up.poll(100), 'closed before the client was')
    m.close()
    out, _ = p.communicate(timeout=LIMIT_S)
    check((p.returncode, out) == (0, b''), f'exit status {p.returncode}: {out!r}')
    check(os.path.exists(path), 'the socket file is gone')
    os.unlink(path)


def probe_ends_by_hangup(place):
    with Program(place) as program:
        program.p.send_signal(signal.SIGHUP)
        program.ended()
        check(os.path.exists(os.path.join(place.path, 'a')), 'the socket file is gone')


def stale_socket(place):
    """The file that the process before us left is no obstacle."""
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.join(place.path, 'a'))
    with Program(place) as program:
        check(program.monitor().negotiate(), 'served')


def foreign_socket_stays(place):
    """A socket that somebody else has bound to our path meanwhile is not ours to remove."""
    path = os.path.join(place.path, 'a')
    program = Program(place, '-accel', 'qtest')
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
    m = program.monitor('b').negotiate()
    m.ask('quit')
    m.close()
    program.ended()
    check(os.path.exists(path), "somebody else's socket was removed")
    os.unlink(path)


def stdio(place):
    data = '{"execute":"qmp_capabilities"}{"execute":"query-name","id":1}{"execute":"quit"}'
    for how in ('pipe', 'file'):
        with tempfile.TemporaryFile() as f:
            f.write(data.encode())
            f.seek(0)
            given = {'input': data.encode()} if how == 'pipe' else {'stdin': f}
            p = subprocess.run([PROGRAM, '-machine', 'none', '-qmp', 'stdio'], cwd=place.path, capture_output=True,
                               timeout=LIMIT_S, **given)
        lines = [json.loads(line) for line in p.stdout.splitlines()]
        check((p.returncode, p.stderr) == (0, b''), f'{p}')
        check([list(line)[0] for line in lines] == ['QMP', 'return', 'return', 'timestamp', 'return'], f'{how}: {lines}')


def client_socket(place):
    """-chardev socket without server=on connects to somebody who listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(place.path, 'there'))
        listener.listen(1)
        p = subprocess.Popen([PROGRAM, '-machine', 'none', '-qmp', 'unix:there'], cwd=place.path,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        listener.settimeout(LIMIT_S)
        conn, _ = listener.accept()
        with conn, conn.makefile('rwb') as f:
            check('QMP' in json.loads(f.readline()), 'greeting')
            f.write(b'{"execute":"qmp_capabilities"}{"execute":"quit"}')
            f.flush()
            f.read()
    out, _ = p.communicate(timeout=LIMIT_S)
    check((p.returncode, out) == (0, b''), f'exit status {p.returncode}: {out!r}')
    os.unlink(os.path.join(place.path, 'there'))


def channels(place):
    """What libxl passes for `channel=`; it reads the name of the pty from query-chardev."""
    with Program(place, '-machine', 'none', '-chardev', 'pty,id=libxl-channel0', '-chardev',
                 'socket,id=libxl-channel1,path=chan,server=on,wait=off', '-chardev', 'pty,id=p,path=link') as program:
        m = program.monitor().negotiate()
        chardevs = {c['label']: c for c in m.ask('query-chardev')['return']}
        name = chardevs['libxl-channel0']['filename']
        check(name.startswith('pty:/dev/pts/') and os.path.exists(name[4:]), f'{name}')
        check(not chardevs['libxl-channel0']['frontend-open'], 'nobody is attached')
        check('pty:' + os.readlink(os.path.join(place.path, 'link')) == chardevs['p']['filename'], f'{chardevs}')
        check(chardevs['libxl-channel1']['filename'].endswith('/chan,server=on'), f'{chardevs}')
        kinds = {b['name'] for b in m.ask('query-chardev-backends')['return']}
        check({'socket', 'pty', 'null', 'ringbuf'} <= kinds, f'{kinds}')
        m.close()
    # The probe run leaves what it made.
    for name in ('chan', 'link'):
        os.unlink(os.path.join(place.path, name))


def ringbuf(place):
    with Program(place, '-machine', 'none', '-chardev', 'ringbuf,id=r,size=16') as program:
        m = program.monitor().negotiate()

        def write(data, **more):
            check(m.ask('ringbuf-write', device='r', data=data, **more) == {'return': {}}, f'{data}')

        def read(size, **more):
            return m.ask('ringbuf-read', device='r', size=size, **more)['return']

        def fails(name, want, **args):
            error = m.ask(name, **args)['error']
            check(error['class'] == 'GenericError' and want in error['desc'], f'{error}')

        write('0123456789abcdefXYZ')
        check(read(4, format='base64') == 'MzQ1Ng==', 'the oldest four that are left')
        check(read(30) == '789abcdefXYZ' and read(30) == '', 'the rest')
        write('AP/DqQ==', format='base64')
        check(read(30) == '\0\ufffd\u00e9', 'a NUL, a byte that is no UTF-8, and a letter')
        write('\u00e9')
        check(read(1) == '\ufffd' and read(1, format='utf8') == '\ufffd', 'half a letter')
        fails('ringbuf-write', "Device 'x' not found", device='x', data='a')
        fails('ringbuf-write', 'n is not a ringbuf device', device='n', data='a')
        fails('ringbuf-write', 'Base64 data contains invalid characters', device='r', data='!!', format='base64')
        fails('ringbuf-write', "Parameter 'format' does not accept value 'foo'", device='r', data='a', format='foo')
        fails('ringbuf-read', "Device 'x' not found", device='x', size=1)
        fails('ringbuf-read', 'size must be greater than zero', device='r', size=0)
        fails('ringbuf-read', 'size must be greater than zero', device='r', size=-1)
        fails('chardev-send-break', "Chardev 'zz' not found", id='zz')
        fails('chardev-send-break', 'no front end', id='n')
        m.close()


def wait_for_client(place):
    """wait=on: the first client, or the signal that ends the program."""
    line = [PROGRAM, '-machine', 'none', '-qmp', 'unix:w,server=on']
    path = os.path.join(place.path, 'w')
    for end in ('signal', 'client'):
        p = subprocess.Popen(line, cwd=place.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        said = p.stderr.readline()
        check(b'waiting for connection on: disconnected:unix:' in said, f'{said}')
        if end == 'signal':
            p.send_signal(signal.SIGTERM)
            out, errors = p.communicate(timeout=LIMIT_S)
            check(p.returncode == 1 and b'ended by a signal' in errors and errors.count(b'\n') == 1, f'{errors}')
        else:
            m = Monitor(path).negotiate()
            m.ask('quit')
            m.close()
            out, errors = p.communicate(timeout=LIMIT_S)
            check((p.returncode, out, errors) == (0, b'', b''), f'{p.returncode} {errors}')
            os.unlink(path)


def qmp_over_tcp(place):
    with Program(place, '-machine', 'none', '-qmp', 'tcp:127.0.0.1:0,server=on,wait=off') as program:
        m = program.monitor().negotiate()
        names = [c['filename'] for c in m.ask('query-chardev')['return'] if 'tcp' in c['filename']]
        check(len(names) == 1 and names[0].startswith('disconnected:tcp:127.0.0.1:'), f'{names}')
        port = int(names[0].split(':')[3].split(',')[0])
        with socket.create_connection(('127.0.0.1', port), LIMIT_S) as s, s.makefile('rb') as f:
            check('QMP' in json.loads(f.readline()), 'greeting')
            here = f'tcp:127.0.0.1:{port},server=on <-> 127.0.0.1:{s.getsockname()[1]}'
            check(here in [c['filename'] for c in m.ask('query-chardev')['return']], here)
        m.close()


def in_a_place(fn, *args):
    with Place() as place:
        fn(place, *args)


def main():
    for line, want in BAD_LINES:
        args = line.split() if isinstance(line, str) else list(line)
        case('xenpvh ' + ' '.join(args)[:100].replace('#', '?'), one_bad_line, args, want)
    for line in HELP:
        case('xenpvh ' + line, help_text, line)
    case('the probe of libxl', in_a_place, probe)
    case('the probe ends by SIGHUP', in_a_place, probe_ends_by_hangup)
    with Place() as place, Program(place) as program:
        case('QMP: the form of a message', raw_form, program)
        bad_inputs(program, FRESH, False)
        bad_inputs(program, READY, True)
        case('QMP: ids of every type', ids, program)
        case('QMP: input in pieces', pieces, program)
        case('QMP: queries', queries, program)
        case('QMP: one client at a time', one_client_at_a_time, program)
        case('QMP: a client that does not read', client_that_does_not_read, program)
        case('QMP: events', events, program)
    case('QMP: pretty replies', in_a_place, pretty)
    case('QMP: stop, cont, quit', in_a_place, end_by_quit)
    case('QMP: disks and nets', in_a_place, back_ends)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        case(f'end by {number.name}', in_a_place, end_by_signal, number)
    case('a stale socket file', in_a_place, stale_socket)
    case('a socket file that somebody replaced', in_a_place, foreign_socket_stays)
    case('QMP on stdio', in_a_place, stdio)
    case('QMP to a listening peer', in_a_place, client_socket)
    case('QMP over TCP', in_a_place, qmp_over_tcp)
    case('channels of libxl', in_a_place, channels)
    case('a ringbuf over QMP', in_a_place, ringbuf)
    case('wait=on', in_a_place, wait_for_client)
    print(f'1..{len(results)}')
    return 0 if all(results) else 1


if __name__ == '__main__':
    sys.exit(main())
