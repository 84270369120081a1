// The tracker of npm's bittorrent-tracker, over HTTP and UDP, as a process of its own.
//
// The package's own command also loads its WebRTC client, whose native add-on a CI machine that
// installs with `--ignore-scripts` does not have; the server part alone needs none.
//
// usage: node npm_tracker.mjs PACKAGE_FOLDER HOST PORT

import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, host, port] = process.argv.slice(2)
const { default: Server } = await import(pathToFileURL(join(resolve(folder), 'server.js')))
const server = new Server({ http: true, udp: true, ws: false, stats: false })

server.on('error', error => {
  console.error(error.message)
  process.exit(1)
})
server.on('warning', warning => console.log('warning:', warning.message))
for (const event of ['start', 'complete', 'update', 'stop']) {
  server.on(event, address => console.log(event, address))
}
server.udp4.bind(Number(port), host, () => {
  server.http.listen(Number(port), host, () => console.log('listening'))
})
