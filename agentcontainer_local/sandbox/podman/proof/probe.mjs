// Tries, from inside a container, what an agent must not be able to do. argv[2]: JSON {network, secret, host, local, files}.
// Writes one JSON object to stderr: by the promise's name, whether it held, and what was seen.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'

const asked = JSON.parse(process.argv[2])
const seen = {}
const held = (name, holds, said) => { seen[name] = { holds, said: String(said).slice(0, 300) } }

const status = Object.fromEntries(
  fs.readFileSync('/proc/self/status', 'utf8').split('\n').map((line) => line.split(':\t')).filter((pair) => pair[1]))
const refused = (action) => { try { action(); return null } catch (error) { return error.code ?? String(error.status) } }

function canConnect(host, port) {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port, timeout: 1500 })
    const end = (answer) => { socket.destroy(); resolve(answer) }
    socket.on('connect', () => end('open')).on('timeout', () => end('silent')).on('error', (error) => end(error.code))
  })
}

async function closed(name, targets) {
  const answers = await Promise.all(targets.map(async ([host, port]) => [`${host}:${port}`, await canConnect(host, port)]))
  const open = answers.filter(([, answer]) => answer === 'open').map(([target]) => target)
  held(name, open.length === 0, open.length ? `open: ${open.join(', ')}` : answers.map((pair) => pair.join(' ')).join(', '))
}

function writable(paths) {
  const nothing = fs.statSync('/dev/null').rdev // which an OCI runtime puts over what it masks
  return paths.filter((path) => {
    let file
    try { file = fs.openSync(path, 'r+') } catch { return false }
    try { return fs.fstatSync(file).rdev !== nothing } finally { fs.closeSync(file) }
  })
}

function sockets(directory, depth = 4) {
  const entries = (() => { try { return fs.readdirSync(directory, { withFileTypes: true }) } catch { return [] } })()
  return entries.flatMap((entry) => {
    const path = `${directory}/${entry.name}`
    return entry.isSocket() ? [path] : entry.isDirectory() && depth ? sockets(path, depth - 1) : []
  })
}

function leaks() {
  const files = ['/proc/cmdline', '/proc/self/mountinfo', '/etc/hosts', '/etc/resolv.conf', '/run/.containerenv']
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    files.push(`/proc/${pid}/environ`)
  }
  return files.filter((file) => { try { return fs.readFileSync(file, 'latin1').includes(asked.secret) } catch { return false } })
}

const caps = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']
if (asked.network === 'none') {
  const devices = fs.readdirSync('/sys/class/net')
  held('no network device', devices.every((name) => name === 'lo'), devices.join(' '))
  held('no capabilities', caps.every((name) => /^0+$/.test(status[name])), caps.map((name) => status[name]).join(' '))
  held('no new privileges', status.NoNewPrivs === undefined ? null : status.NoNewPrivs.trim() === '1', status.NoNewPrivs)
  held('system calls are filtered', status.Seccomp === undefined ? null : status.Seccomp.trim() === '2', status.Seccomp)
  const isolated = ['unshare', 'mount', 'mknod'].map((name) => [name, refused(() => execFileSync(name, {
    unshare: ['--user', '--map-root-user', 'true'], mount: ['-t', 'tmpfs', 'none', '/mnt'], mknod: ['/tmp/device', 'b', '8', '0'],
  }[name], { stdio: 'ignore' }))])
  held('no namespaces, mounts or devices of its own', isolated.every(([, code]) => code !== null),
    isolated.map((pair) => pair.join(' ')).join(', '))
  const writes = ['/opt/agentcontainer', '/run/agentcontainer'].map((path) => [path, refused(
    () => fs.writeFileSync(`${path}/x`, ''))]).filter(([path]) => fs.existsSync(path))
  held('read-only runtime', writes.every(([, code]) => code !== null), writes.map((pair) => pair.join(' ')).join(', '))
  const kernel = writable(['/proc/sys/kernel/core_pattern', '/proc/sys/kernel/modprobe', '/proc/sysrq-trigger', '/proc/kcore',
    '/sys/kernel/uevent_helper', '/sys/fs/cgroup/cgroup.procs', '/sys/fs/cgroup/memory/release_agent', '/dev/mem', '/dev/kmsg'])
  held('kernel settings are closed', kernel.length === 0, kernel.join(' ') || 'none can be written')
  const devices2 = fs.readdirSync('/dev').filter((name) => { try { return fs.statSync(`/dev/${name}`).isBlockDevice() } catch { return false } })
  held('no disks of the host', devices2.length === 0, devices2.join(' ') || 'none')
  const doors = [...new Set(['/run', '/var/run', '/tmp', '/var/lib'].flatMap((path) => sockets(fs.realpathSync(path))))]
    .filter((path) => path !== '/run/agentcontainer/host.sock')
  held('no sockets but the door', doors.length === 0, doors.join(' ') || 'none')
  const first = fs.readFileSync('/proc/1/cmdline', 'utf8').split('\0')[0]
  const pids = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  held('no processes of others', pids.length < 20 && !/systemd|\/sbin\/init/.test(first), `${pids.length}, the first is ${first}`)
  held('no files of the host', asked.files.every((path) => !fs.existsSync(path)), asked.files.filter((path) => fs.existsSync(path)).join(' ') || 'none')
  const leaking = leaks()
  held('no secrets', leaking.length === 0, leaking.join(' ') || 'none of those planted were found')
}
await closed(asked.network === 'none' ? 'no way to the host' : 'internet: host closed', asked.host)
await closed(asked.network === 'none' ? 'no metadata address' : 'internet: metadata and local networks closed', asked.local)
console.error(`\n${JSON.stringify(seen)}`)
